// Shows the data of one run.
const DIFF = 420;
Object.assign(state, { cls: new Set(), lane: -1, open: new Map() });

function about() {
  const run = data.run, [into, out] = data.bytes;
  const took = run.seconds === null ? run.state : run.seconds + " s, exit status " + run.status;
  header(run.command + " — what it changed", run.command, "run " + run.id + (run.name ? " (" + run.name + ")" : "") + " on " + run.source, [
    ["started", run.started], ["took", took], ["changes", count(data.paths.length)], ["written", size(into)],
    ["removed", size(out) + (data.below ? ", " + count(data.below) + " below directories" : "")]]);
  data.classes.forEach(([letter, word, changes], number) => {
    if (!changes) return;
    const chip = make("button", "chip c" + number);
    chip.append(make("b", "", count(changes)), make("i", "", word));
    chip.onclick = () => { state.cls.has(number) ? state.cls.delete(number) : state.cls.add(number); refresh(); };
    chip.dataset.number = number;
    at("summary").append(chip);
  });
  if (data.leftOut) at("foot").textContent = count(data.leftOut) + " diffs are left out, being too much: cowdiff text " + run.id;
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
    for (const [place, changes] of lane.bins) {
      const tick = make("i", "tick");
      tick.style.cssText = `left:${place / 2.4}%;width:max(2px,${1 / 2.4}%);opacity:${0.35 + 0.65 * changes / most}`;
      track.append(tick);
    }
    row.title = lane.command + "\n" + lane.count + " changes";
    row.append(name, track, make("span", "count", count(lane.count)));
    row.onclick = () => { state.lane = state.lane === number ? -1 : number; refresh(); };
    at("lanes").append(row);
  });
}

// --- a change and its diff

function row(number) {
  const node = make("div", "row c" + data.class[number]), line = make("div", "line"), text = data.diffs[number];
  line.append(make("span", "fold", text ? (state.open.has(number) ? "▾" : "▸") : ""), make("span", "letter", data.classes[data.class[number]][0]),
    pathOf(number, data.kinds[number] === "directory" ? "/" : ""), make("span", "note", data.notes[number]));
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

about();
lanes();
start({
  row,
  key: () => "",
  weight: (number) => data.weight[number],
  wanted: (number) => (!state.cls.size || state.cls.has(data.class[number])) && (state.lane < 0 || data.process[number] === state.lane),
  paint: (cell, node) => cell.classList.add("c" + data.class[node.row]),
  height: (number) => (state.open.has(number) ? Math.min(DIFF, 24 + 17 * state.open.get(number)) + 12 : 0),
  marks() {
    for (const chip of at("summary").children) chip.setAttribute("aria-pressed", state.cls.has(+chip.dataset.number));
    [...at("lanes").children].forEach((lane, number) => lane.setAttribute("aria-pressed", state.lane === number));
  },
  keep(kept) {
    if (state.cls.size) kept.set("class", [...state.cls].map((number) => data.classes[number][0]).join(""));
  },
  restore(kept) {
    state.cls = new Set([...kept.get("class") || ""].map((letter) => data.classes.findIndex((known) => known[0] === letter)));
    select();
    if (kept.has("open")) shown.slice(0, 3).forEach(toggle);
  },
});
