"use strict";
// Hops and events in over a WebSocket, the page out. Nothing here is fetched from anywhere but its own server.

const HISTORY_S = 120;
const STATES = { l: "live", s: "stale", m: "missing", r: "recovering" };
const COLOURS = ["#0072b2", "#c98300", "#009e73", "#b8578f", "#d55e00", "#2f93c9"];
const byId = (id) => document.getElementById(id);
const sources = new Map(); // name -> {rows, prediction, lamps, links, ...}
let emotions = [], modalities = [], chosen = null, plot = null, retryMs = 500, pictureUrl = null, lastPicture = 0;
const hidden = new Set();

function element(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

// ---------------------------------------------------------------------------------------------------------- link

let socket = null;

function connect() {
  socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws`);
  socket.binaryType = "blob";
  socket.onmessage = (message) => (typeof message.data === "string" ? take(JSON.parse(message.data)) : show(message.data));
  socket.onopen = () => { retryMs = 500; };
  socket.onclose = () => {
    say(`the connection is lost: trying again`, true);
    setTimeout(connect, retryMs * (0.8 + 0.4 * Math.random()));
    retryMs = Math.min(retryMs * 2, 8000);
  };
}

function say(text, lost = false) {
  const link = byId("link");
  if (link.textContent !== text) link.textContent = text;
  link.classList.toggle("lost", lost);
}

function take(message) {
  if (message.type === "hello") greet(message);
  else if (message.type === "hop") takeHop(message);
  else if (message.type === "presence") takeEvent(message);
}

function greet(hello) {
  ({ emotions, modalities } = hello);
  sources.clear();
  for (const { name, lamps, links } of hello.sources) {
    sources.set(name, { rows: hello.history[name], lamps, links, highest: [], words: "", face: null });
  }
  if (!sources.has(chosen)) chosen = [...sources.keys()][0];
  let wanted = null;
  try { wanted = sessionStorage.getItem("source"); } catch { /* private windows may not have it */ }
  if (sources.has(wanted)) chosen = wanted;
  makeSources();
  makeValues();
  byId("events").replaceChildren();
  hello.events.forEach(addEvent);
  choose(chosen);
  document.documentElement.dataset.greetings = 1 + Number(document.documentElement.dataset.greetings || 0);
}

function takeHop({ prediction, face, words, links, hops }) {
  const source = sources.get(prediction.source);
  if (!source) return;
  const letters = modalities.map((m) => prediction.presence[m][0]).join("");
  const row = [prediction.time_s, emotions.map((e) => prediction.intensities[e]), letters];
  if (!(source.rows.at(-1)?.[0] >= prediction.time_s)) source.rows.push(row); // else the greeting held it already
  while (source.rows[0][0] < prediction.time_s - HISTORY_S) source.rows.shift();
  Object.assign(source, { prediction, face, words, links });
  for (const m of modalities) {
    if (!(source.lostSince?.[m] > prediction.time_s)) source.lamps[m] = { state: prediction.presence[m], reason: prediction.reason[m] };
  }
  source.highest.push([prediction.time_s, prediction.latency_ms]);
  while (source.highest[0][0] < prediction.time_s - 60) source.highest.shift();
  const root = document.documentElement.dataset;
  root.hops = 1 + Number(root.hops || 0);
  say(`${prediction.time_s.toFixed(1)} s, on ${prediction.backend}`);
  byId("hops").textContent = `${hops.late} hops late, ${hops.missed} missed`;
  markSource(prediction.source);
  if (prediction.source === chosen) draw();
}

function takeEvent(event) {
  const source = sources.get(event.source);
  if (!source) return;
  source.lamps[event.modality] = { state: event.to, reason: event.reason };
  source.lostSince = { ...source.lostSince, [event.modality]: event.to === "missing" ? event.time_s : 0 };
  addEvent(event);
  markSource(event.source);
  if (event.source === chosen) drawLamps(source);
}

function addEvent(event) {
  const name = sources.size > 1 ? `${event.source} ` : "";
  const text = `${event.time_s.toFixed(1)} s: ${name}${event.modality} ${event.to}${event.reason ? `: ${event.reason}` : ""}`;
  const list = byId("events");
  list.prepend(element("li", { className: event.to, textContent: text }));
  while (list.children.length > 100) list.lastChild.remove();
}

// ------------------------------------------------------------------------------------------------------- sources

function makeSources() {
  const box = byId("sources");
  box.replaceChildren();
  box.hidden = sources.size < 2;
  for (const name of sources.keys()) {
    const button = element("button", { type: "button", textContent: name, title: name });
    button.setAttribute("role", "radio");
    button.dataset.source = name;
    button.onclick = () => choose(name);
    box.append(button);
  }
  box.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const names = [...sources.keys()];
    choose(names[(names.indexOf(chosen) + step + names.length) % names.length]);
    box.querySelector("[aria-checked=true]").focus();
  };
}

function choose(name) {
  chosen = name;
  try { sessionStorage.setItem("source", name); } catch { /* not kept, then */ }
  for (const button of byId("sources").children) {
    const mine = button.dataset.source === name;
    button.setAttribute("aria-checked", mine);
    button.tabIndex = mine ? 0 : -1;
  }
  byId("picture").hidden = true;
  lastPicture = 0;
  document.title = sources.size > 1 ? `${name}, taemi-edge` : "taemi-edge";
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ source: name }));
  draw();
}

function markSource(name) {
  const { lamps } = sources.get(name);
  const lost = modalities.some((m) => lamps[m].state === "missing");
  for (const button of byId("sources").children) if (button.dataset.source === name) button.classList.toggle("lost", lost);
}

// ------------------------------------------------------------------------------------------------------- drawing

function draw() {
  const source = sources.get(chosen);
  drawLamps(source);
  drawPlot(source);
  drawFace(source);
  const transcript = byId("transcript");
  if (transcript.textContent !== source.words) transcript.textContent = source.words;
  if (!source.prediction) return;
  drawValues(source.prediction);
  drawLatency(source);
}

function drawLamps(source) {
  const list = byId("lamps");
  while (list.children.length < modalities.length) {
    list.append(element("li", {}, element("span", { className: "lamp" }), element("span"),
      element("span", {}, element("span", { className: "state" }), element("span", { className: "why" }))));
  }
  modalities.forEach((m, index) => {
    const { state, reason } = source.lamps[m];
    const item = list.children[index], age = source.prediction?.age_ms[m];
    item.className = state;
    item.dataset.modality = m;
    item.dataset.state = state;
    item.children[0].setAttribute("aria-hidden", "true");
    set(item.children[1], m);
    set(item.children[2].children[0], state);
    const old = age == null || state === "missing" ? "" : ` ${age < 1000 ? `${Math.round(age)} ms` : `${(age / 1000).toFixed(1)} s`} old`;
    set(item.children[2].children[1], `${reason ? `: ${reason}` : ""}${old}`);
  });
  const lines = source.links.map((l) => `${l.address}: ${l.state}${l.reason && l.state !== "connected" ? ` (${l.reason})` : ""}, ${l.reconnects} reconnects`);
  const links = byId("links");
  while (links.children.length > lines.length) links.lastChild.remove();
  while (links.children.length < lines.length) links.append(element("li"));
  lines.forEach((line, index) => set(links.children[index], line));
}

function set(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function makeValues() {
  byId("values").tBodies[0].replaceChildren(...emotions.map((name, index) => {
    const box = element("input", { type: "checkbox", checked: !hidden.has(index) });
    box.onchange = () => {
      hidden[box.checked ? "delete" : "add"](index);
      plot?.setSeries(index + 1, { show: box.checked });
    };
    const label = element("label", {}, box, element("span", { className: `swatch c${index}` }), name.replace("_", " "));
    const bar = element("div", { className: `bar c${index}` }, element("i"));
    bar.setAttribute("aria-hidden", "true");
    return element("tr", {}, element("th", { scope: "row" }, label), element("td", {}, bar), element("td", { className: "number" }));
  }));
}

function drawValues({ intensities }) {
  emotions.forEach((name, index) => {
    const row = byId("values").tBodies[0].rows[index], value = intensities[name];
    row.cells[1].firstChild.firstChild.style.width = `${Math.max(0, Math.min(1, value)) * 100}%`;
    set(row.cells[2], value.toFixed(2));
  });
}

function drawLatency({ prediction, highest }) {
  const body = byId("latency").tBodies[0], parts = Object.keys(prediction.latency_ms);
  while (body.rows.length < parts.length) {
    body.append(element("tr", {}, element("th", { scope: "row" }), element("td", { className: "number" }), element("td", { className: "number" })));
  }
  parts.forEach((part, index) => {
    const cells = body.rows[index].cells;
    set(cells[0], part);
    set(cells[1], prediction.latency_ms[part].toFixed(1));
    set(cells[2], Math.max(...highest.map(([, ms]) => ms[part])).toFixed(1));
  });
}

function drawPlot(source) {
  const style = getComputedStyle(document.documentElement), line = style.getPropertyValue("--line");
  const data = [source.rows.map((row) => row[0]), ...emotions.map((_, index) => source.rows.map((row) => row[1][index]))];
  const box = byId("plot");
  if (!plot) {
    const axis = { stroke: () => getComputedStyle(document.documentElement).getPropertyValue("--quiet"), grid: { stroke: line, width: 1 }, ticks: { stroke: line } };
    plot = new uPlot({
      width: box.clientWidth, height: 300, legend: { show: false }, cursor: { show: false },
      scales: { x: { time: false, range: (_, low, high) => [Math.max(0, high - HISTORY_S), Math.max(high, 10)] }, y: { range: [-0.24, 1] } },
      axes: [{ ...axis, values: (_, ticks) => ticks.map((t) => `${t} s`) }, { ...axis, splits: () => [0, 0.25, 0.5, 0.75, 1] }],
      series: [{}, ...emotions.map((name, index) => ({ label: name, stroke: COLOURS[index], width: 2, show: !hidden.has(index), points: { show: false } }))],
      hooks: { draw: [drawBands] },
    }, data, box);
    new ResizeObserver(() => plot.setSize({ width: box.clientWidth, height: 300 })).observe(box);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { plot.destroy(); plot = null; draw(); });
  } else plot.setData(data);
}

function drawBands(drawn) {
  const { ctx } = drawn, rows = sources.get(chosen)?.rows || [], style = getComputedStyle(document.documentElement);
  const low = drawn.valToPos(-0.24, "y", true), high = drawn.valToPos(-0.03, "y", true), tall = (low - high) / modalities.length;
  const right = drawn.bbox.left + drawn.bbox.width;
  ctx.save();
  ctx.font = `${Math.round(tall * 0.75)}px system-ui`;
  ctx.textBaseline = "middle";
  modalities.forEach((modality, at) => {
    const y = high + at * tall;
    rows.forEach((row, index) => {
      const x = Math.max(drawn.bbox.left, drawn.valToPos(index ? rows[index - 1][0] : row[0], "x", true)), end = Math.min(right, drawn.valToPos(row[0], "x", true));
      if (end <= x) return;
      ctx.fillStyle = style.getPropertyValue(`--${STATES[row[2][at]]}`);
      ctx.globalAlpha = row[2][at] === "l" ? 0.35 : 0.9;
      ctx.fillRect(x, y + 1, end - x + 0.5, tall - 2);
    });
    ctx.globalAlpha = 1;
    ctx.fillStyle = style.getPropertyValue("--text");
    ctx.fillText(modality, drawn.bbox.left + 4, y + tall / 2);
  });
  ctx.restore();
}

// ------------------------------------------------------------------------------------------------------- picture

function show(blob) {
  const picture = byId("picture"), old = pictureUrl;
  pictureUrl = URL.createObjectURL(blob);
  picture.onload = () => { if (old) URL.revokeObjectURL(old); };
  picture.src = pictureUrl;
  picture.alt = `What ${chosen} sees`;
  picture.hidden = false;
  lastPicture = performance.now();
  document.documentElement.dataset.pictures = 1 + Number(document.documentElement.dataset.pictures || 0);
  drawFace(sources.get(chosen));
}

function drawFace(source) {
  const face = byId("face"), picture = byId("picture");
  const fresh = performance.now() - lastPicture < 2500 && lastPicture > 0;
  picture.classList.toggle("old", !fresh);
  byId("no-picture").hidden = fresh;
  face.hidden = !fresh || !source?.face;
  if (face.hidden) return;
  const [x1, y1, x2, y2] = source.face.map((share) => share * 100);
  Object.assign(face.style, { left: `${x1}%`, top: `${y1}%`, width: `${x2 - x1}%`, height: `${y2 - y1}%` });
}

connect();
