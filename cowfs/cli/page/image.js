// Shows the layers of one image. Of the kinds the first is what can be seen; the others are reasons why not.
const last = data.layers.length;
const places = new Map(data.layers.map((layer, place) => [layer.number, place + 1]));
const of = data.layer.map((number) => places.get(number)), gone = data.gone.map((number) => (number ? places.get(number) : 0));
Object.assign(state, { kinds: new Set(), layers: new Set(), upto: last });

const colour = (place) => `oklch(var(--l) .12 ${(250 + 137.5 * (place - 1)) % 360})`;
const kind = (row) => (gone[row] && gone[row] <= state.upto ? data.why[row] : 0);

function wanted(row) {
  return of[row] <= state.upto && (!state.kinds.size || state.kinds.has(kind(row))) && (!state.layers.size || state.layers.has(of[row]));
}

function choose(chosen, item) {
  chosen.has(item) ? chosen.delete(item) : chosen.add(item);
  refresh(true);
}

function about() {
  const share = data.total ? 100 * data.wasted / data.total : 0;
  header(data.image.name + " — its layers", data.image.name, data.image.digest, [["layers", count(last)], ["files", count(data.files)],
    ["bytes", size(data.total)], ["not to be seen", size(data.wasted) + " (" + share.toFixed(1) + " %)"],
    ["efficiency", (100 * data.efficiency).toFixed(1) + " %"]]);
  data.kinds.forEach((word, number) => {
    const chip = make("button", number ? "chip hatched" : "chip");
    chip.style.setProperty("--c", "var(--soft)");
    chip.append(make("b"), make("i", "", word));
    chip.onclick = () => choose(state.kinds, number);
    at("summary").append(chip);
  });
  data.layers.forEach((layer, place) => {
    const row = make("div", "lane layer"), track = make("span", "track");
    row.style.setProperty("--c", colour(place + 1));
    track.append(make("i", "bar"), make("i", "bar hatched"));
    row.title = layer.id + "\n" + layer.command;
    row.append(make("span", "number", layer.number), make("span", "id", layer.id), make("span", "", layer.command), track, make("span", "count"));
    row.onclick = () => choose(state.layers, place + 1);
    at("lanes").append(row);
  });
  at("upto").max = last;
  at("upto").oninput = (event) => { state.upto = +event.target.value; refresh(true); };
  at("layers").hidden = !last;
}

// What the layers brought, and how much of it cannot be seen, as things were after the layer that the slider is at.
function marks() {
  const sums = data.kinds.map(() => 0), brought = data.layers.map(() => [0, 0]);
  for (let row = 0; row < of.length; row++) {
    const why = kind(row);
    brought[of[row] - 1][why ? 1 : 0] += data.size[row];
    if (of[row] <= state.upto) sums[why] += data.size[row];
  }
  [...at("summary").children].forEach((chip, number) => {
    chip.firstChild.textContent = size(sums[number]);
    chip.hidden = !sums[number] && number > 0;
    chip.setAttribute("aria-pressed", state.kinds.has(number));
  });
  const most = Math.max(1, ...brought.map(([seen, hidden]) => seen + hidden));
  [...at("lanes").children].forEach((lane, place) => {
    const [seen, hidden] = brought[place], bars = lane.children[3].children;
    bars[0].style.width = 100 * seen / most + "%";
    bars[1].style.width = 100 * hidden / most + "%";
    lane.lastChild.textContent = size(seen + hidden);
    lane.classList.toggle("later", place >= state.upto);
    lane.setAttribute("aria-pressed", state.layers.has(place + 1));
  });
  at("upto").value = state.upto;
  const layer = data.layers[state.upto - 1];
  at("after").textContent = state.upto === last ? "all " + count(last) : "the image after layer " + layer.number + ": " + layer.command.slice(0, 90);
}

function row(number) {
  const node = make("div", "row"), line = make("div", "line"), why = kind(number);
  node.style.setProperty("--c", colour(of[number]));
  const note = why ? data.kinds[why] + ", since layer " + data.gone[number] : "";
  line.append(make("span", "letter", data.layer[number]), make("span", "bytes", size(data.size[number])), pathOf(number, ""), make("span", "note", note));
  line.title = data.paths[number] + "\nlayer " + data.layer[number] + ": " + data.layers[of[number] - 1].command;
  node.append(line);
  return node;
}

about();
start({
  row,
  marks,
  wanted,
  key: (number) => "\0" + number,
  weight: (number) => (wanted(number) ? data.size[number] : 0),
  height: () => 0,
  paint(cell, node) {
    cell.style.setProperty("--c", colour(of[node.row]));
    cell.title += "\nlayer " + data.layer[node.row] + (kind(node.row) ? ", " + data.kinds[kind(node.row)] + ", since layer " + data.gone[node.row] : "");
    if (kind(node.row)) cell.classList.add("hatched");
  },
  keep(kept) {
    if (state.upto !== last) kept.set("upto", data.layers[state.upto - 1].number);
    if (state.layers.size) kept.set("layers", [...state.layers].map((place) => data.layers[place - 1].number).join(" "));
    if (state.kinds.size) kept.set("kinds", [...state.kinds].map((number) => data.kinds[number]).join(" "));
  },
  restore(kept) {
    const words = (name) => (kept.get(name) || "").split(" ").filter(Boolean);
    state.upto = places.get(+kept.get("upto")) || last;
    state.layers = new Set(words("layers").map((number) => places.get(+number)).filter(Boolean));
    state.kinds = new Set(words("kinds").map((word) => data.kinds.indexOf(word)).filter((number) => number >= 0));
  },
});
