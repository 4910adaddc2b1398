"""The one error a user can mend."""


class Refusal(ValueError):
    """Input or settings the pipeline will not work on.

    Its text is one line that says the rule, the offending value and the fix.
    """

    def __init__(self, rule: str, value: object, fix: str) -> None:
        super().__init__(f"{rule}; got {value}. {fix}")
