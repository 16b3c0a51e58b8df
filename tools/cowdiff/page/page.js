"use strict";
// Shows the data of one run. Text is only ever set as text; the address's fragment keeps what is looked at.
const data = JSON.parse(document.getElementById("data").textContent);
const ROW = 26, DIFF = 420, CELLS = 1200;
const at = (id) => document.getElementById(id);
const state = { q: "", cls: new Set(), lane: -1, dir: "/", open: new Map() };
let shown = [];

function make(tag, cls, text) {
  const node = document.createElement(tag);
  if (cls) node.className = cls;
  if (text !== undefined) node.textContent = text;
  return node;
}

function size(bytes) {
  let unit = 0;
  while (bytes >= 1000 && unit < 6) { bytes /= 1024; unit++; }
  return (unit ? bytes.toFixed(1) : bytes) + " " + ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"][unit];
}

function header() {
  const run = data.run;
  document.title = run.command + " — what it changed";
  at("command").textContent = at("command").title = run.command;
  at("where").textContent = "run " + run.id + (run.name ? " (" + run.name + ")" : "") + " on " + run.source;
  const took = run.seconds === null ? run.state : run.seconds + " s, exit status " + run.status;
  const [into, out] = data.bytes;
  const facts = [["started", run.started], ["took", took], ["changes", data.paths.length.toLocaleString("en")],
    ["written", size(into)], ["removed", size(out) + (data.below ? ", " + data.below.toLocaleString("en") + " below directories" : "")]];
  for (const [name, value] of facts) {
    const fact = make("div");
    fact.append(make("dt", "", name), make("dd", "", value));
    at("facts").append(fact);
  }
  data.classes.forEach(([letter, word, count], number) => {
    if (!count) return;
    const chip = make("button", "chip c" + number);
    chip.append(make("b", "", count.toLocaleString("en")), make("i", "", word));
    chip.onclick = () => { state.cls.has(number) ? state.cls.delete(number) : state.cls.add(number); refresh(); };
    chip.dataset.number = number;
    at("summary").append(chip);
  });
  if (data.leftOut) at("foot").textContent = data.leftOut.toLocaleString("en") + " diffs are left out, being too much: cowdiff text " + run.id;
}

// --- the map: directories as boxes, files by their bytes

function tree() {
  const root = { name: "/", path: "/", weight: 0, kids: new Map(), row: -1 };
  data.paths.forEach((path, row) => {
    const weight = data.weight[row];
    if (!weight) return;
    let node = root;
    node.weight += weight;
    for (const name of path.split("/").slice(1)) {
      if (!node.kids.has(name)) {
        node.kids.set(name, { name, path: (node.path === "/" ? "" : node.path) + "/" + name, weight: 0, kids: new Map(), row: -1 });
      }
      node = node.kids.get(name);
      node.weight += weight;
    }
    node.row = row;
  });
  return root;
}

// Squarified treemaps (Bruls, Huizing, van Wijk 2000): rows whose boxes are as square as can be.
function squarify(kids, x, y, w, h, put) {
  let rest = kids.reduce((sum, kid) => sum + kid.weight, 0), from = 0;
  while (from < kids.length && w > 1 && h > 1) {
    const side = Math.min(w, h), scale = w * h / rest;
    let sum = 0, to = from, worst = Infinity;
    while (to < kids.length) {
      const next = sum + kids[to].weight, area = next * scale;
      const ratio = Math.max(side * side * kids[from].weight * scale / (area * area), area * area / (side * side * kids[to].weight * scale));
      if (ratio > worst) break;
      worst = ratio; sum = next; to++;
    }
    const thick = sum * scale / side;
    let along = 0;
    for (let i = from; i < to; i++) {
      const length = kids[i].weight / sum * side;
      if (w >= h) put(kids[i], x, y + along, thick, length); else put(kids[i], x + along, y, length, thick);
      along += length;
    }
    if (w >= h) { x += thick; w -= thick; } else { y += thick; h -= thick; }
    rest -= sum; from = to;
  }
}

const root = tree();

function find(path) {
  let node = root;
  for (const name of path.split("/").filter(Boolean)) node = node.kids.get(name) || node;
  return node;
}

function heaviest(node) {
  while (node.kids.size) node = [...node.kids.values()].reduce((a, b) => (b.weight > a.weight ? b : a));
  return node;
}

function map() {
  const box = at("map"), node = find(state.dir);
  box.replaceChildren();
  at("bytes").hidden = !root.weight;
  // The big ones first, so that what is too much are the smallest.
  const waiting = [[node, 0, 0, box.clientWidth, box.clientHeight]];
  for (let cells = 0; waiting.length && cells < CELLS;) {
    const [from, ...area] = waiting.shift();
    const kids = [...from.kids.values()].sort((a, b) => b.weight - a.weight);
    squarify(kids, ...area, (kid, x, y, w, h) => {
      if (w < 2 || h < 2) return;
      cells++;
      const leaf = !kid.kids.size, inside = !leaf && w > 40 && h > 34;
      const cell = make("div", inside ? "cell dir" : "cell leaf c" + data.class[heaviest(kid).row], w > 34 && h > 15 ? kid.name + (leaf ? "" : "/") : "");
      cell.title = kid.path + (leaf ? "" : "/") + "\n" + size(kid.weight);
      cell.style.cssText = `left:${x}px;top:${y}px;width:${w}px;height:${h}px`;
      cell.onclick = () => { if (leaf) { state.q = kid.path; at("search").value = state.q; } else state.dir = kid.path; refresh(); };
      box.append(cell);
      if (inside) waiting.push([kid, x + 3, y + 17, w - 6, h - 20]);
    });
    waiting.sort((a, b) => b[3] * b[4] - a[3] * a[4]);
  }
  const crumbs = at("crumbs");
  crumbs.replaceChildren();
  let path = "";
  for (const name of ["/", ...state.dir.split("/").filter(Boolean)]) {
    if (name !== "/") path += "/" + name;
    const target = path || "/", crumb = make("button", "", name === "/" ? "/" : name + "/");
    crumb.onclick = () => { state.dir = target; refresh(); };
    crumbs.append(crumb);
  }
  crumbs.append(make("span", "", " " + size(node.weight)));
}

// --- the time line

function lanes() {
  if (!data.lanes.length) return;
  at("time").hidden = false;
  at("span").textContent = "from the first change to the last: " + data.lanes[0].seconds.toFixed(1) + " s";
  data.lanes.forEach((lane, number) => {
    const row = make("div", "lane"), name = make("span", "", lane.name), track = make("span", "track");
    name.style.paddingLeft = Math.min(lane.depth, 10) * 10 + "px";
    const most = Math.max(...lane.bins.map((bin) => bin[1]));
    for (const [place, count] of lane.bins) {
      const tick = make("i", "tick");
      tick.style.cssText = `left:${place / 2.4}%;width:max(2px,${1 / 2.4}%);opacity:${0.35 + 0.65 * count / most}`;
      track.append(tick);
    }
    row.title = lane.command + "\n" + lane.count + " changes";
    row.append(name, track, make("span", "count", lane.count.toLocaleString("en")));
    row.onclick = () => { state.lane = state.lane === number ? -1 : number; refresh(); };
    at("lanes").append(row);
  });
}

// --- the list: only the rows in sight exist

function select() {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  shown = [];
  for (let row = 0; row < data.paths.length; row++) {
    if (state.cls.size && !state.cls.has(data.class[row])) continue;
    if (state.lane >= 0 && data.process[row] !== state.lane) continue;
    const path = data.paths[row].toLowerCase();
    if (words.every((word) => path.includes(word))) shown.push(row);
  }
  at("found").textContent = shown.length === data.paths.length ? "" : shown.length.toLocaleString("en") + " of " + data.paths.length.toLocaleString("en");
}

function height(row) {
  return state.open.has(row) ? Math.min(DIFF, 24 + 17 * state.open.get(row)) + 12 : 0;
}

function rows() {
  const list = at("list"), box = at("rows");
  const opened = shown.map((row, place) => [place, height(row)]).filter((pair) => pair[1]);
  const top = (place) => place * ROW + opened.reduce((sum, [other, more]) => sum + (other < place ? more : 0), 0);
  const place = (y) => {
    let low = 0, high = shown.length;
    while (low < high) { const mid = (low + high) >> 1; if (top(mid + 1) <= y) low = mid + 1; else high = mid; }
    return low;
  };
  box.style.height = top(shown.length) + "px";
  const first = place(list.scrollTop - 200), last = Math.min(shown.length, place(list.scrollTop + list.clientHeight + 200) + 1);
  const nodes = [];
  for (let i = first; i < last; i++) {
    const node = row(shown[i]);
    node.style.top = top(i) + "px";
    nodes.push(node);
  }
  box.replaceChildren(...nodes);
}

function row(number) {
  const node = make("div", "row c" + data.class[number]), line = make("div", "line"), path = make("span", "path");
  const cut = data.paths[number].lastIndexOf("/") + 1;
  path.append(make("em", "", data.paths[number].slice(0, cut)), data.paths[number].slice(cut) + (data.kinds[number] === "directory" ? "/" : ""));
  const text = data.diffs[number];
  line.append(make("span", "fold", text ? (state.open.has(number) ? "▾" : "▸") : ""), make("span", "letter", data.classes[data.class[number]][0]),
    path, make("span", "note", data.notes[number]));
  line.title = data.paths[number] + "\n" + data.notes[number] + (data.process[number] >= 0 ? "\nby " + data.lanes[data.process[number]].command : "");
  node.append(line);
  if (text) {
    line.classList.add("more");
    line.onclick = () => { toggle(number); refresh(); };
    if (state.open.has(number)) node.append(diff(text));
  }
  return node;
}

function toggle(number) {
  if (state.open.has(number)) state.open.delete(number);
  else if (data.diffs[number]) state.open.set(number, data.diffs[number].split("\n").length - 1);
}

function diff(text) {
  const box = make("pre");
  box.style.maxHeight = DIFF + "px";
  const kinds = { "+": "plus", "-": "minus", "@": "at", "#": "head" };
  let head = true;
  for (const line of text.replace(/\n$/, "").split("\n")) {
    if (line.startsWith("@@")) head = false;
    if (line.startsWith("diff --git")) head = true;
    box.append(make("span", head ? "head" : kinds[line[0]] || "", line));
  }
  return box;
}

// --- all together

function refresh() {
  for (const chip of at("summary").children) chip.setAttribute("aria-pressed", state.cls.has(+chip.dataset.number));
  [...at("lanes").children].forEach((lane, number) => lane.setAttribute("aria-pressed", state.lane === number));
  select();
  map();
  rows();
  const kept = new URLSearchParams();
  if (state.q) kept.set("q", state.q);
  if (state.cls.size) kept.set("class", [...state.cls].map((number) => data.classes[number][0]).join(""));
  if (state.dir !== "/") kept.set("dir", state.dir);
  if (document.documentElement.dataset.theme) kept.set("theme", document.documentElement.dataset.theme);
  history.replaceState(null, "", "#" + kept);
}

function restore() {
  const kept = new URLSearchParams(location.hash.slice(1));
  state.q = at("search").value = kept.get("q") || "";
  state.dir = kept.get("dir") || "/";
  state.cls = new Set([...kept.get("class") || ""].map((letter) => data.classes.findIndex((known) => known[0] === letter)));
  if (kept.has("theme")) document.documentElement.dataset.theme = kept.get("theme") === "dark" ? "dark" : "light";
  select();
  if (kept.has("open")) shown.slice(0, 3).forEach(toggle);
  if (kept.has("end")) requestAnimationFrame(() => { at("list").scrollTop = 1e9; });
}

at("search").oninput = (event) => { state.q = event.target.value; at("list").scrollTop = 0; refresh(); };
at("list").onscroll = () => requestAnimationFrame(rows);
at("theme").onclick = () => {
  const look = document.documentElement.dataset, dark = matchMedia("(prefers-color-scheme: dark)").matches;
  look.theme = (look.theme || (dark ? "dark" : "light")) === "dark" ? "light" : "dark";
  refresh();
};
addEventListener("resize", refresh);
header();
lanes();
restore();
refresh();
document.documentElement.dataset.ready = "yes";
