"use strict";
// Hops and events in over a WebSocket, the page out. Nothing here is fetched from anywhere but its own server.

const HISTORY_S = 120;
const STATES = { l: "live", s: "stale", m: "missing", r: "recovering" };
const byId = (id) => document.getElementById(id);
const sources = new Map(); // name -> {rows, prediction, lamps, links, pictures, ...}
let streams = [], groups = [], chosen = null, retryMs = 500, pictureUrl = null, lastPicture = 0;

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

// What is left out because the machine cannot carry all of it.
function sayLoad(degraded) {
  const text = degraded ? `degraded: ${degraded.reason}; ${Math.round(degraded.frames_share * 100)} % of the frames, a prediction every ${degraded.hop_s} s` : "";
  set(byId("load"), text);
  byId("load").hidden = !text;
}

// A model that was trained on synthetic data may be wrong about the world.
function sayTraining(trainedOn) {
  set(byId("training"), trainedOn ? `trained on synthetic data: ${trainedOn}` : "");
  byId("training").hidden = !trainedOn;
}

function take(message) {
  if (message.type === "hello") greet(message);
  else if (message.type === "hop") takeHop(message);
  else if (message.type === "presence") takeEvent(message);
}

function greet(hello) {
  streams = hello.streams;
  sources.clear();
  for (const { name, lamps, links, pictures } of hello.sources) {
    sources.set(name, { rows: hello.history[name], lamps, links, pictures, picture: pictures[0], highest: [], words: {}, faces: {} });
  }
  if (!sources.has(chosen)) chosen = [...sources.keys()][0];
  let wanted = null;
  try { wanted = sessionStorage.getItem("source"); } catch { /* private windows may not have it */ }
  if (sources.has(wanted)) chosen = wanted;
  sayTraining(hello.trained_on);
  makeView();
  makeSources();
  makeGroups(hello.outputs);
  byId("lamps").replaceChildren();
  byId("events").replaceChildren();
  hello.events.forEach(addEvent);
  choose(chosen);
  document.documentElement.dataset.greetings = 1 + Number(document.documentElement.dataset.greetings || 0);
}

function takeHop({ prediction, row, faces, words, links, hops }) {
  const source = sources.get(prediction.source);
  if (!source) return;
  if (!(source.rows.at(-1)?.[0] >= prediction.time_s)) source.rows.push(row); // else the greeting held it already
  while (source.rows[0][0] < prediction.time_s - HISTORY_S) source.rows.shift();
  Object.assign(source, { prediction, row, faces, words, links });
  for (const { name } of streams) {
    if (!(source.lostSince?.[name] > prediction.time_s)) source.lamps[name] = { state: prediction.presence[name], reason: prediction.reason[name] };
  }
  source.highest.push([prediction.time_s, prediction.latency_ms]);
  while (source.highest[0][0] < prediction.time_s - 60) source.highest.shift();
  const root = document.documentElement.dataset;
  root.hops = 1 + Number(root.hops || 0);
  say(`${prediction.time_s.toFixed(1)} s, on ${prediction.backend}`);
  byId("hops").textContent = `${hops.late} hops late, ${hops.missed} missed`;
  sayLoad(prediction.degraded);
  sayTraining(prediction.synthetic === true ? prediction.trained_on : ""); // another model may have been taken up
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
  makeRadios(byId("sources"), "source", [...sources.keys()], () => chosen, choose);
}

// A row of buttons of which one is chosen, by mouse or by the arrow keys.
function makeRadios(box, key, names, current, choose) {
  box.replaceChildren();
  box.hidden = names.length < 2;
  for (const name of names) {
    const button = element("button", { type: "button", textContent: name, title: name });
    button.setAttribute("role", "radio");
    button.dataset[key] = name;
    button.onclick = () => choose(name);
    box.append(button);
  }
  box.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    choose(names[(names.indexOf(current()) + step + names.length) % names.length]);
    box.querySelector("[aria-checked=true]").focus();
  };
}

function checkRadio(box, key, name) {
  for (const button of box.children) {
    const mine = button.dataset[key] === name;
    button.setAttribute("aria-checked", mine);
    button.tabIndex = mine ? 0 : -1;
  }
}

function choose(name) {
  chosen = name;
  try { sessionStorage.setItem("source", name); } catch { /* not kept, then */ }
  checkRadio(byId("sources"), "source", name);
  document.title = sources.size > 1 ? `${name}, taemi-edge` : "taemi-edge";
  const { pictures, picture } = sources.get(name);
  makeRadios(byId("pictures"), "picture", pictures, () => sources.get(chosen).picture, choosePicture);
  choosePicture(picture);
}

function choosePicture(name) {
  const source = sources.get(chosen);
  source.picture = name;
  checkRadio(byId("pictures"), "picture", name);
  byId("picture").hidden = true;
  lastPicture = 0;
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ source: chosen, picture: name ?? null }));
  draw();
}

function markSource(name) {
  const { lamps } = sources.get(name);
  const lost = streams.some((stream) => lamps[stream.name].state === "missing");
  for (const button of byId("sources").children) if (button.dataset.source === name) button.classList.toggle("lost", lost);
}

// ------------------------------------------------------------------------------------------------------- drawing

// What the model does not read is not shown: the picture without a video stream, the words without a text stream.
function makeView() {
  const kinds = new Set(streams.map(({ kind }) => kind));
  byId("frame").hidden = !kinds.has("video");
  byId("transcript").hidden = !kinds.has("text");
  byId("view").hidden = byId("frame").hidden && byId("transcript").hidden;
  document.body.classList.toggle("no-view", byId("view").hidden);
  const longest = Math.max(...streams.map(({ name }) => name.length));
  byId("lamps").style.setProperty("--names", `${Math.min(13, Math.max(4.2, longest * 0.62 + 0.6))}rem`);
}

function makeGroups(outputs) {
  const hidden = new Map(groups.map((group) => [group.name, group.hidden]));
  groups.forEach((group) => group.forgetPlot());
  let offset = 0;
  groups = outputs.map((spec, index) => {
    const group = new OutputGroup(spec, offset, index ? [] : streams.map(({ name }) => name));
    for (const row of hidden.get(spec.name) || []) if (group.cells[row]) {
      group.hidden.add(row);
      group.cells[row].row.querySelector("input").checked = false;
    }
    offset += spec.names.length;
    return group;
  });
  byId("outputs").replaceChildren(...groups.map((group) => group.section));
}

function draw() {
  const source = sources.get(chosen);
  drawLamps(source);
  groups.forEach((group) => group.drawPlot(source.rows));
  drawFace(source);
  const texts = Object.entries(source.words);
  set(byId("transcript"), texts.length > 1 ? texts.map(([name, text]) => `${name}: ${text}`).join("\n") : texts[0]?.[1] ?? "");
  if (!source.prediction) return;
  groups.forEach((group) => group.drawValues(source.row, source.prediction[group.name]));
  drawLatency(source);
}

function drawLamps(source) {
  const list = byId("lamps");
  while (list.children.length < streams.length) {
    list.append(element("li", {}, element("span", { className: "lamp" }), element("span"),
      element("span", {}, element("span", { className: "state" }), element("span", { className: "why" }))));
  }
  streams.forEach(({ name, kind }, index) => {
    const { state, reason } = source.lamps[name];
    const item = list.children[index], age = source.prediction?.age_ms[name];
    item.className = state;
    item.title = kind;
    item.dataset.modality = name;
    item.dataset.state = state;
    item.children[0].setAttribute("aria-hidden", "true");
    set(item.children[1], name);
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

function drawLatency({ prediction, highest }) {
  const body = byId("latency").tBodies[0], parts = Object.keys(prediction.latency_ms);
  while (body.rows.length < parts.length) {
    body.append(element("tr", {}, element("th", { scope: "row" }), element("td", { className: "number" }), element("td", { className: "number" })));
  }
  parts.forEach((part, index) => {
    const cells = body.rows[index].cells;
    set(cells[0], part);
    const last = highest.findLast(([, ms]) => typeof ms[part] === "number"); // a part is not timed in every hop
    set(cells[1], last ? last[1][part].toFixed(1) : "");
    set(cells[2], last ? Math.max(...highest.map(([, ms]) => ms[part] ?? 0)).toFixed(1) : "");
  });
}

isDark.addEventListener("change", () => {
  groups.forEach((group) => group.forgetPlot());
  if (sources.has(chosen)) draw();
});

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
  const box = source?.faces[source.picture];
  face.hidden = !fresh || !box;
  if (face.hidden) return;
  const [x1, y1, x2, y2] = box.map((share) => share * 100);
  Object.assign(face.style, { left: `${x1}%`, top: `${y1}%`, width: `${x2 - x1}%`, height: `${y2 - y1}%` });
}

connect();
