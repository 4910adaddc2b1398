// What is compared: pixels and regions, their spectra, and the table that can be copied.
"use strict";

const MOST = 6; // spectra compared at once, one for each colour
const chosen = []; // what is compared, oldest first
const free = []; // colours not in use

const about = (one) => one.pixels === undefined
  ? `row ${one.row}, column ${one.col}`
  : `rows ${one.row} to ${one.row + one.height - 1}, columns ${one.col} to ${one.col + one.width - 1}`;

function meaning(one) {
  if (one.spectrum.every((v) => v === null)) return "nodata";
  if (one.pixels !== undefined) return `mean and standard deviation of ${one.pixels} pixels`;
  const parts = [];
  if (one.uncertainty) parts.push("band: ± 1 standard deviation");
  if (one.closure && one.closure[0] !== null) parts.push(`closure residual ${one.closure[0].toPrecision(2)}`);
  if (one.quality) parts.push(...facts.flags.filter(([bit]) => one.quality[0] & bit).map(([, name]) => name));
  return parts.join("; ");
}

function band(one) {
  const spread = one.spread || one.uncertainty;
  const known = facts.wavelengths.map((_, i) => i).filter((i) => spread && spread[i] !== null && one.spectrum[i] !== null);
  const edge = (sign) => known.map((i) => [facts.wavelengths[i], one.spectrum[i] + sign * spread[i]]);
  const outline = [...edge(1), ...edge(-1).reverse()];
  return { x: outline.map((p) => p[0]), y: outline.map((p) => Math.max(0, p[1])) };
}

function compare() {
  const pixels = chosen.filter((one) => one.pixels === undefined);
  const boxes = chosen.filter((one) => one.pixels !== undefined);
  const colours = (list) => list.map((one) => one.colour);
  sources.marks.data = {
    x: pixels.map((p) => p.col + 0.5), y: pixels.map((p) => p.row + 0.5),
    number: pixels.map((p) => String(p.number)), colour: colours(pixels),
  };
  sources.boxes.data = {
    left: boxes.map((b) => b.col), right: boxes.map((b) => b.col + b.width),
    top: boxes.map((b) => b.row), bottom: boxes.map((b) => b.row + b.height), colour: colours(boxes),
  };
  sources.lines.data = {
    x: chosen.map(() => facts.wavelengths), y: chosen.map((one) => one.spectrum.map((v) => v ?? NaN)),
    colour: colours(chosen), dash: chosen.map((one) => (one.pixels === undefined ? "solid" : "dashed")),
  };
  const drawn = chosen.map(band);
  const top = Math.max(0, ...drawn.flatMap((b) => b.y), ...chosen.flatMap((one) => one.spectrum));
  spectra.y_range.end = 1.05 * top || 1;
  sources.bands.data = { x: drawn.map((b) => b.x), y: drawn.map((b) => b.y), colour: colours(chosen) };
  $("rows").replaceChildren();
  for (const one of chosen) {
    const row = element("tr", "", $("rows"));
    const first = element("td", "", row);
    element("span", one.number, first, { className: "badge" }).style.background = one.colour;
    element("td", about(one), row);
    element("td", meaning(one), row);
  }
  $("said").textContent = "";
}

async function add(path, place) {
  try {
    const one = await json(path, place);
    if (chosen.length === MOST) free.push(chosen.shift().slot);
    one.slot = free.sort()[0];
    free.shift();
    one.colour = facts.colours[one.slot];
    one.number = one.slot + 1;
    chosen.push(one);
    compare();
  } catch (error) {
    $("note").textContent = error.message;
  }
}

function clear() {
  chosen.length = 0;
  free.splice(0, free.length, ...facts.colours.keys());
  compare();
}

function csv() {
  const columns = [["wavelength_nm", ...facts.wavelengths]];
  const [row0, col0] = facts.first;
  const part = row0 || col0 ? ` of the part from row ${row0} col ${col0}` : "";
  for (const one of chosen) {
    const name = (one.pixels === undefined
      ? `row ${one.row} col ${one.col}`
      : `mean of rows ${one.row}-${one.row + one.height - 1} cols ${one.col}-${one.col + one.width - 1}`) + part;
    columns.push([`${name} reflectance estimated`, ...one.spectrum]);
    // How much a region's pixels differ is not how sure an estimate is.
    if (one.spread) columns.push([`${name} standard deviation over ${one.pixels} pixels`, ...one.spread]);
    if (one.uncertainty) columns.push([`${name} sigma of the estimate`, ...one.uncertainty]);
  }
  return columns[0].map((_, i) => columns.map((column) => column[i] ?? "").join(",")).join("\n") + "\n";
}

async function copy() {
  try {
    await navigator.clipboard.writeText(csv());
    $("said").textContent = "Copied.";
  } catch {
    // Browsers keep the clipboard from pages that are neither local nor encrypted.
    const link = element("a", "", document.body, { download: "spectra.csv" });
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    link.click();
    link.remove();
    $("said").textContent = "Saved as spectra.csv.";
  }
}
