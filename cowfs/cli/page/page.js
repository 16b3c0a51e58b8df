"use strict";
// What the pages share: a map of bytes, a list of which only the rows in sight exist, a search, light and dark. Text is only ever
// set as text; the address's fragment keeps what is looked at. A page's own script follows, and calls start with an object of
//   weight(row)         bytes of a row in the map          wanted(row)      is it in the list, as far as not searched for?
//   paint(cell, node)   gives a box its colour             row(row)         a row of the list
//   height(row)         what is opened below that row      marks()          shows what is chosen
//   keep(kept)          what is chosen, for the fragment   restore(kept)    and back
//   key(row)            tells rows of one path apart
const at = (id) => document.getElementById(id);
const data = JSON.parse(at("data").textContent);
const ROW = 26, CELLS = 1200;
const state = { q: "", dir: "/" };
const count = (number) => number.toLocaleString("en");
let page, root, shown = [];

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

function header(title, subject, where, facts) {
  document.title = title;
  at("subject").textContent = at("subject").title = subject;
  at("where").textContent = where;
  for (const [name, value] of facts) {
    const fact = make("div");
    fact.append(make("dt", "", name), make("dd", "", value));
    at("facts").append(fact);
  }
}

function pathOf(row, end) {
  const path = make("span", "path"), cut = data.paths[row].lastIndexOf("/") + 1;
  path.append(make("em", "", data.paths[row].slice(0, cut)), data.paths[row].slice(cut) + end);
  return path;
}

// --- the map: directories as boxes, files by their bytes

function tree() {
  const top = { name: "/", path: "/", weight: 0, kids: new Map(), row: -1 };
  data.paths.forEach((path, row) => {
    const weight = page.weight(row);
    if (!weight) return;
    let node = top;
    node.weight += weight;
    const names = path.split("/").slice(1);
    names.forEach((name, depth) => {
      const key = depth === names.length - 1 ? name + page.key(row) : name;
      if (!node.kids.has(key)) {
        node.kids.set(key, { name, path: (node.path === "/" ? "" : node.path) + "/" + name, weight: 0, kids: new Map(), row: -1 });
      }
      node = node.kids.get(key);
      node.weight += weight;
    });
    node.row = row;
  });
  return top;
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
    const [from, ...area] = waiting.shift().slice(0, 5);
    const kids = [...from.kids.values()].sort((a, b) => b.weight - a.weight);
    squarify(kids, ...area, (kid, x, y, w, h) => {
      if (w < 2 || h < 2) return;
      cells++;
      const leaf = !kid.kids.size, inside = !leaf && w > 40 && h > 34;
      const label = w > 34 && h > 15 ? kid.name + (leaf ? "" : "/") : "";
      const cell = make("div", inside ? "cell dir" : "cell leaf", label);
      cell.title = kid.path + (leaf ? "" : "/") + "\n" + size(kid.weight);
      cell.style.cssText = `left:${x}px;top:${y}px;width:${w}px;height:${h}px` + (label ? "" : ";padding:0");
      if (!inside) page.paint(cell, heaviest(kid));
      cell.onclick = () => { if (leaf) { state.q = kid.path; at("search").value = state.q; } else state.dir = kid.path; refresh(); };
      box.append(cell);
      if (inside) waiting.push([kid, x + 3, y + 17, w - 6, h - 20, cell]);
    });
    waiting.sort((a, b) => b[3] * b[4] - a[3] * a[4]);
  }
  for (const [kid, , , , , cell] of waiting) {
    if (!cell) continue;
    cell.className = "cell leaf";
    page.paint(cell, heaviest(kid));
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

// --- the list: only the rows in sight exist

function select() {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  shown = [];
  for (let row = 0; row < data.paths.length; row++) {
    if (!page.wanted(row)) continue;
    const path = data.paths[row].toLowerCase();
    if (words.every((word) => path.includes(word))) shown.push(row);
  }
  at("found").textContent = shown.length === data.paths.length ? "" : count(shown.length) + " of " + count(data.paths.length);
}

function rows() {
  const list = at("list"), box = at("rows");
  const opened = shown.map((row, place) => [place, page.height(row)]).filter((pair) => pair[1]);
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
    const node = page.row(shown[i]);
    node.style.top = top(i) + "px";
    nodes.push(node);
  }
  box.replaceChildren(...nodes);
}

// --- all together

// ``weighed``: what is in the map, or how much it is, may have changed.
function refresh(weighed) {
  if (weighed) root = tree();
  page.marks();
  select();
  map();
  rows();
  const kept = new URLSearchParams();
  if (state.q) kept.set("q", state.q);
  page.keep(kept);
  if (state.dir !== "/") kept.set("dir", state.dir);
  if (document.documentElement.dataset.theme) kept.set("theme", document.documentElement.dataset.theme);
  history.replaceState(null, "", "#" + kept);
}

function start(own) {
  page = own;
  at("search").oninput = (event) => { state.q = event.target.value; at("list").scrollTop = 0; refresh(); };
  at("list").onscroll = () => requestAnimationFrame(rows);
  at("theme").onclick = () => {
    const look = document.documentElement.dataset, dark = matchMedia("(prefers-color-scheme: dark)").matches;
    look.theme = (look.theme || (dark ? "dark" : "light")) === "dark" ? "light" : "dark";
    refresh();
  };
  addEventListener("resize", () => refresh());
  const kept = new URLSearchParams(location.hash.slice(1));
  state.q = at("search").value = kept.get("q") || "";
  state.dir = kept.get("dir") || "/";
  if (kept.has("theme")) document.documentElement.dataset.theme = kept.get("theme") === "dark" ? "dark" : "light";
  page.restore(kept);
  refresh(true);
  if (kept.has("end")) requestAnimationFrame(() => { at("list").scrollTop = 1e9; });
  document.documentElement.dataset.ready = "yes";
}
