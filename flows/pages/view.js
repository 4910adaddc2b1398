// The page of `r2h view`: asks the server for pictures and numbers, and hands them to Bokeh's plots.
"use strict";

const $ = (id) => document.getElementById(id);
const sources = {};
let facts, image, spectra, last = "", busy = false, again = false;

async function ask(path, values = {}) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(values))
    for (const one of [value].flat()) query.append(key, one);
  const answer = await fetch(`${path}?${query}`);
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({ detail: `The server failed (${answer.status}).` }));
    throw new Error(typeof said.detail === "string" ? said.detail : JSON.stringify(said.detail));
  }
  return answer;
}

const json = async (path, values) => (await ask(path, values)).json();

function element(tag, text, parent, more = {}) {
  const made = Object.assign(document.createElement(tag), { textContent: text }, more);
  parent.append(made);
  return made;
}

// Pictures ---------------------------------------------------------------------------------

function look() {
  const show = $("show").value;
  if (show === "bands") return { show: "colour", nm: ["red", "green", "blue"].map((id) => $(id).value) };
  return { show };
}

function fit() {
  // As much of the cube as may be read at once, all of it by custom, with square pixels.
  const shown = Math.min(Math.max(facts.height, facts.width), facts.widest);
  const [w, h] = [Math.min(facts.width, shown), Math.min(facts.height, shown)];
  const scale = Math.max(w / image.inner_width, h / image.inner_height);
  const [x, y] = [image.inner_width * scale / 2, image.inner_height * scale / 2];
  image.x_range.setv({ start: facts.width / 2 - x, end: facts.width / 2 + x });
  image.y_range.setv({ start: facts.height / 2 + y, end: facts.height / 2 - y });
}

function square() {
  // The pane has changed its size, by a longer label perhaps: what is in the middle stays there.
  const { x_range: x, y_range: y } = image;
  const half = (x.end - x.start) / image.inner_width * image.inner_height / 2;
  const middle = (y.start + y.end) / 2;
  y.setv({ start: middle + half, end: middle - half });
}

function windowOf(x0, x1, y0, y1) {
  const [left, right] = [Math.max(0, Math.floor(x0)), Math.min(facts.width, Math.ceil(x1))];
  const [top, bottom] = [Math.max(0, Math.floor(y0)), Math.min(facts.height, Math.ceil(y1))];
  if (right <= left || bottom <= top) return null;
  return { row: top, col: left, height: bottom - top, width: right - left };
}

async function draw(name, place, across, down) {
  const { row, col, height, width } = place;
  const url = URL.createObjectURL(await (await ask("picture.png", { ...place, across, down, ...look() })).blob());
  return { name, url, data: { url: [url], x: [col], y: [row], w: [width], h: [height] } };
}

function put(drawn) {
  const source = sources[drawn.name];
  const old = source.data.url[0];
  source.data = drawn.data;
  if (old) setTimeout(() => URL.revokeObjectURL(old), 2000); // the plot may still be loading it
}

async function refresh() {
  // One at a time: where the view moves on meanwhile, the last place it has come to is next.
  if (busy) {
    again = true;
    return;
  }
  busy = true;
  await near();
  busy = false;
  if (again) {
    again = false;
    await refresh();
  }
}

async function near() {
  const { x_range: x, y_range: y, inner_width: wide, inner_height: high } = image;
  const place = windowOf(x.start, x.end, y.end, y.start);
  if (!place) return;
  // As many pixels as the screen has, but no more of a side than the server gives.
  const most = Math.min(1200, Math.max(wide, high) * window.devicePixelRatio);
  const scale = most / Math.max(x.end - x.start, y.start - y.end);
  const pixels = (size) => Math.max(1, Math.min(1200, Math.round(size * scale)));
  const asked = JSON.stringify([place, scale, look()]);
  if (asked === last) return;
  last = asked;
  const [shown, mine] = [$("show").value, JSON.stringify(look())];
  try {
    const drawn = await draw("near", place, pixels(place.width), pixels(place.height));
    if (mine !== JSON.stringify(look())) return; // never one look under another's name
    put(drawn);
    $("note").textContent = facts.layers[shown] ? facts.layers[shown][0] : "";
  } catch (error) {
    $("note").textContent = error.message;
  }
  document.body.dataset.drawn = asked;
}

function preset(nm) {
  ["red", "green", "blue"].forEach((id, i) => {
    const near = (a, b) => (Math.abs(a - nm[i]) < Math.abs(b - nm[i]) ? a : b);
    $(id).value = facts.wavelengths.reduce(near);
  });
}

async function relook() {
  const known = facts.presets.find(([, nm]) => nm.join() === $("show").value);
  if (known) {
    preset(known[1]);
    $("show").value = "bands";
  }
  // What was drawn is of another look: gone at once, never shown under a wrong name.
  last = "";
  for (const name of ["far", "near"]) sources[name].data = { url: [], x: [], y: [], w: [], h: [] };
  $("bands").hidden = $("show").value !== "bands";
  legend();
  await refresh();
  if (Math.max(facts.height, facts.width) > facts.widest) return;
  const whole = { row: 0, col: 0, height: facts.height, width: facts.width };
  const scale = Math.min(1, 400 / Math.max(facts.height, facts.width));
  const mine = JSON.stringify(look());
  try {
    const far = await draw("far", whole, Math.ceil(facts.width * scale), Math.ceil(facts.height * scale));
    if (mine === JSON.stringify(look())) put(far); // under the near one: no blank while panning
  } catch { /* a layer without overviews is drawn near by only */ }
}

function legend() {
  const [show, box] = [$("show").value, $("legend")];
  box.replaceChildren();
  if (show === "quality") {
    for (const [, name, colour] of facts.flags) {
      element("span", "", box, { className: "swatch" }).style.background = colour;
      element("span", name, box);
    }
  } else if (facts.layers[show]) {
    element("span", "0", box);
    element("img", "", box, { src: "ramp.png", alt: "colour scale" });
    element("span", `${facts.layers[show][1].toPrecision(2)}`, box, { title: facts.layers[show][0] });
  }
}

// The page ---------------------------------------------------------------------------------

function fill() {
  document.title = `${facts.cube} · r2h view`;
  $("name").textContent = facts.cube;
  const made = facts.camera ? `, seen by camera ${facts.camera}, weights ${facts.checkpoint}` : "";
  $("about").textContent = `${facts.height} x ${facts.width} pixels, ${facts.wavelengths.length} wavelengths${made}. ${facts.begins}`;
  const shows = [["colour", "as the eye sees it"], ["bands", "three wavelengths"]];
  facts.presets.forEach(([name, nm]) => shows.push([nm.join(), `${name}: ${nm.join(", ")} nm`]));
  for (const name of ["uncertainty", "closure", "quality"])
    if (facts.layers[name]) shows.push([name, { closure: "closure residual" }[name] || name]);
  for (const [value, text] of shows) element("option", text, $("show"), { value });
  for (const id of ["red", "green", "blue"])
    for (const nm of facts.wavelengths) element("option", nm, $(id), { value: nm });
  [$("row").max, $("col").max] = [facts.height - 1, facts.width - 1];
  preset(facts.presets[0][1]);
}

async function main() {
  const [known, plots] = await Promise.all([json("facts.json"), json("plots.json")]);
  facts = known;
  fill();
  json("lost.json").then(({ unfinished, lost, beside }) => {
    const say = (count, text) => { if (count) $("about").textContent += ` ${text}`; };
    say(unfinished, `NOT complete: ${unfinished} of its chunks are not made yet, and look like nodata.`);
    say(lost, `MISSING: ${lost} of its chunks, which look like nodata.`);
    say(beside, `MISSING: ${beside} of its layers' and overviews' chunks: seen from afar, and in flags, there are holes.`);
  }).catch((error) => { $("about").textContent += ` Not known whether chunks are missing: ${error.message}.`; });
  for (const id of ["image", "spectra"]) await Bokeh.embed.embed_item(plots[id], id);
  const found = (name) => Bokeh.documents.map((doc) => doc.get_model_by_name(name)).find((model) => model);
  [image, spectra] = [found("image"), found("spectra")];
  for (const name of ["far", "near", "marks", "boxes", "lines", "bands"]) sources[name] = found(name);
  clear();
  fit();
  let timer;
  const soon = () => { clearTimeout(timer); timer = setTimeout(refresh, 120); };
  for (const range of [image.x_range, image.y_range]) range.change.connect(soon);
  for (const size of ["inner_width", "inner_height"]) image.properties[size].change.connect(square);
  image.on_event("tap", ({ x, y }) => {
    const place = windowOf(x, x, y, y) || windowOf(x, x + 1e-9, y, y + 1e-9);
    if (place) add("pixel.json", { row: place.row, col: place.col });
  });
  image.on_event("reset", fit);
  image.on_event("selectiongeometry", ({ geometry, final }) => {
    if (!final || geometry.type !== "rect") return;
    const { x0, x1, y0, y1 } = geometry; // y0 is below y1: rows grow downwards
    const place = windowOf(x0, x1, y1, y0);
    if (place) add("region.json", place);
  });
  for (const id of ["show", "red", "green", "blue"]) $(id).addEventListener("change", relook);
  $("controls").addEventListener("submit", (event) => event.preventDefault());
  $("pixel").addEventListener("submit", (event) => {
    event.preventDefault();
    add("pixel.json", { row: $("row").value, col: $("col").value });
  });
  $("clear").addEventListener("click", clear);
  $("copy").addEventListener("click", copy);
  await relook();
  document.body.dataset.ready = "1";
}

main().catch((error) => { $("note").textContent = error.message; });
