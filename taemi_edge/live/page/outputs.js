"use strict";
// Draws the groups of a model's outputs: for each one its curves over time, and a table of its newest values.

const DASHES = [[], [8, 4], [2, 3], [12, 3, 2, 3], [5, 2], [16, 6], [9, 3, 2, 3, 2, 3]]; // each for eight curves: of many colours some are near
const ONE_DASH = 8;
const isDark = matchMedia("(prefers-color-scheme: dark)");
const MOST_BRIGHT = 8; // of more curves than this, the ones that say most are bright and the others pale
const MOST_ROWS = 14; // longer tables are broken into columns
const PLOT_PX = 300, AXIS_PX = 50, BAND_PX = 16;

class OutputGroup {
  // One group: `spec` is its name, kind, names and range as the manifest has them and a colour for each name, `offset` where its values begin in a
  // row of the history. `bands` are the streams whose presence is drawn below the curves; empty for none.
  constructor(spec, offset, bands) {
    Object.assign(this, spec, { offset, bands, hidden: new Set(), pointed: null, plot: null, cells: [] });
    this.isClasses = this.kind === "classes";
    this.fixed = this.isClasses ? [0, 1] : this.range;
    this.span = this.fixed || [0, 1];
    this.box = element("div", { className: "plot" });
    this.box.setAttribute("role", "img");
    this.box.setAttribute("aria-label", `${this.names.length} curves over the last two minutes${bands.length ? ", with a band for each stream below" : ""}; the table has the newest values`);
    this.best = element("span", { className: "best-now" });
    const title = element("h2", { id: `output-${this.name}` }, inWords(this.name, true), this.best);
    this.tables = element("div", { className: "tables" }, ...this.makeTables());
    this.section = element("section", { className: this.names.length > MOST_ROWS ? "curves wide" : "curves" }, title, this.box, this.tables);
    this.section.dataset.output = this.name;
    this.section.setAttribute("aria-labelledby", title.id);
  }

  makeTables() {
    const columns = Math.ceil(this.names.length / MOST_ROWS), rows = Math.ceil(this.names.length / columns), tables = [];
    for (let from = 0; from < this.names.length; from += rows) tables.push(this.makeTable(from, Math.min(from + rows, this.names.length)));
    return tables;
  }

  makeTable(from, to) {
    const heads = this.isClasses ? ["class", "level", "probability"] : ["output", "level", "value"];
    const head = element("tr", {}, ...heads.map((text, at) => element("th", { scope: "col", textContent: text, className: at === 2 ? "number" : "" })));
    const caption = element("caption", { className: "quiet", textContent: from ? "continued" : "Newest prediction; untick a row to hide its curve" });
    const body = element("tbody", {}, ...this.names.slice(from, to).map((name, at) => this.makeRow(name, from + at)));
    return element("table", { className: "values" }, caption, element("thead", {}, head), body);
  }

  makeRow(name, index) {
    const box = element("input", { type: "checkbox", checked: true });
    box.onchange = () => {
      this.hidden[box.checked ? "delete" : "add"](index);
      this.plot?.setSeries(index + 1, { show: box.checked });
    };
    const label = element("label", {}, box, this.swatch(index), inWords(name));
    const level = this.coloured(element("div", { className: "bar" }, element("i")), index);
    level.setAttribute("aria-hidden", "true");
    const value = element("td", { className: "number" });
    const row = element("tr", {}, element("th", { scope: "row" }, label), element("td", {}, level), value);
    row.onpointerenter = () => this.point(index);
    row.onpointerleave = () => this.point(null);
    this.cells[index] = { row, level: level.firstChild, value };
    return row;
  }

  swatch(index) {
    const dash = this.names.length > ONE_DASH ? ` long d${Math.floor(index / ONE_DASH) % DASHES.length}` : "";
    return this.coloured(element("span", { className: `swatch${dash}` }), index);
  }

  // The style sheet takes the one that suits the background.
  coloured(node, index) {
    node.classList.add("coloured");
    for (const [background, colours] of Object.entries(this.colours)) node.style.setProperty(`--on-${background}`, colours[index % colours.length]);
    return node;
  }

  colour(index) {
    const colours = this.colours[isDark.matches ? "dark" : "light"];
    return colours[index % colours.length];
  }

  point(index) {
    this.pointed = index;
    if (!this.plot) return;
    this.weigh();
    this.plot.redraw(false);
  }

  // ---- values

  drawValues(row, described) {
    const values = row[1].slice(this.offset, this.offset + this.names.length), [low, high] = this.span;
    const share = (value) => Math.max(0, Math.min(1, (value - low) / (high - low))), zero = share(0);
    const best = this.isClasses && values[0] != null ? values.indexOf(Math.max(...values)) : null;
    const present = described?.present;
    values.forEach((value, index) => {
      const { row: line, level, value: cell } = this.cells[index];
      const at = value == null ? zero : share(value);
      level.style.marginLeft = `${Math.min(at, zero) * 100}%`;
      level.style.width = `${Math.abs(at - zero) * 100}%`;
      line.classList.toggle("best", present ? present.includes(this.names[index]) : index === best);
      set(cell, value == null ? "–" : this.written(value));
    });
    if (values[0] == null) set(this.best, "no prediction");
    else if (present) set(this.best, present.map((name) => inWords(name)).join(", ") || "none of them");
    else set(this.best, best == null ? "" : `${inWords(this.names[best])} ${values[best].toFixed(2)}`);
  }

  written(value) {
    const span = this.span[1] - this.span[0];
    return value.toFixed(span >= 1000 ? 0 : span >= 100 ? 1 : span >= 0.5 ? 2 : Math.min(8, 2 - Math.floor(Math.log10(span))));
  }

  // ---- curves

  drawPlot(rows) {
    const data = [rows.map((row) => row[0]), ...this.names.map((_, index) => rows.map((row) => row[1][this.offset + index]))];
    if (!this.fixed) this.span = spanOf(data.slice(1));
    if (!this.plot) this.makePlot(data);
    this.weigh(data);
    this.plot.setData(data);
  }

  makePlot(data) {
    const box = this.box, height = PLOT_PX + BAND_PX * Math.max(0, this.bands.length - 3);
    const line = getComputedStyle(document.documentElement).getPropertyValue("--line");
    const axis = { stroke: () => getComputedStyle(document.documentElement).getPropertyValue("--quiet"), grid: { stroke: line, width: 1 }, ticks: { stroke: line } };
    box.style.height = `${height}px`;
    const strip = (BAND_PX * this.bands.length) / (height - AXIS_PX);
    this.plot = new uPlot({
      width: box.clientWidth, height, legend: { show: false }, cursor: { show: false },
      scales: {
        x: { time: false, range: (_, low, high) => [Math.max(0, high - HISTORY_S), Math.max(high, 10)] },
        y: { range: () => [this.bands.length ? this.span[1] - (this.span[1] - this.span[0]) / (1 - strip) : this.span[0] - 0.03 * (this.span[1] - this.span[0]), this.span[1]] },
      },
      axes: [{ ...axis, values: (_, ticks) => ticks.map((t) => `${t} s`) }, { ...axis, values: (_, ticks) => ticks.map(shortly), splits: () => (this.fixed ? [0, 1, 2, 3, 4].map((k) => this.span[0] + ((this.span[1] - this.span[0]) * k) / 4) : ticksOf(this.span)) }],
      series: [{}, ...this.names.map((name, index) => ({ label: name, stroke: () => this.colour(index), dash: dashOf(index), width: 2, show: !this.hidden.has(index), points: { show: false } }))],
      hooks: { draw: [(drawn) => this.drawBands(drawn)] },
    }, data, box);
    this.watcher = new ResizeObserver(() => this.plot?.setSize({ width: box.clientWidth, height }));
    this.watcher.observe(box);
  }

  forgetPlot() {
    this.watcher?.disconnect();
    this.plot?.destroy();
    this.plot = null;
  }

  weigh(data = this.plot.data) {
    // Of many curves, the classes that were likely and the numbers that moved are bright.
    const many = this.names.length > MOST_BRIGHT;
    const weights = data.slice(1).map((values) => {
      const known = values.filter((v) => v != null);
      if (!known.length) return 0;
      return Math.max(...known) - (this.isClasses ? 0 : Math.min(...known));
    });
    const least = many ? [...weights].sort((a, b) => b - a)[MOST_BRIGHT - 1] : 0;
    this.names.forEach((_, index) => {
      const bright = this.pointed == null ? !many || weights[index] >= least : this.pointed === index;
      Object.assign(this.plot.series[index + 1], { alpha: bright ? 1 : 0.25, width: bright ? 2 : 1 });
    });
  }

  drawBands(drawn) {
    if (!this.bands.length) return;
    const { ctx } = drawn, rows = sources.get(chosen)?.rows || [], style = getComputedStyle(document.documentElement);
    const span = this.span[1] - this.span[0], tall = BAND_PX * devicePixelRatio * 0.8;
    const bottom = drawn.bbox.top + drawn.bbox.height, right = drawn.bbox.left + drawn.bbox.width;
    const high = Math.max(bottom - tall * this.bands.length, drawn.valToPos(this.span[0] - 0.005 * span, "y", true));
    ctx.save();
    ctx.font = `${Math.round(tall * 0.75)}px system-ui`;
    ctx.textBaseline = "middle";
    this.bands.forEach((stream, at) => {
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
      const inMargin = ctx.measureText(stream).width < drawn.bbox.left - 4 * devicePixelRatio;
      ctx.textAlign = inMargin ? "right" : "left"; // a long name goes on over its band
      ctx.fillText(stream, inMargin ? drawn.bbox.left + 4 : 2 * devicePixelRatio, y + tall / 2);
    });
    ctx.restore();
  }
}

function dashOf(index) {
  return DASHES[Math.floor(index / ONE_DASH) % DASHES.length];
}

function inWords(name, asTitle = false) {
  const words = name.replaceAll("_", " ");
  return asTitle ? words.charAt(0).toUpperCase() + words.slice(1) : words;
}

// The lowest and highest value of numbers that have no declared range, with some room.
function spanOf(columns) {
  let low = Infinity, high = -Infinity;
  for (const values of columns) {
    for (const value of values) {
      if (value == null) continue;
      if (value < low) low = value;
      if (value > high) high = value;
    }
  }
  if (low > high) return [0, 1];
  const room = (high - low) * 0.08 || Math.abs(high) * 0.1 || 1;
  return [low - room, high + room];
}

// A tick in few enough characters for the axis.
function shortly(tick) {
  const size = Math.abs(tick);
  return size && (size >= 1e5 || size < 1e-3) ? Number(tick.toPrecision(3)).toExponential() : String(Number(tick.toPrecision(6)));
}

// Four to eight round numbers inside a span.
function ticksOf([low, high]) {
  const rough = (high - low) / 5, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 2.5, 5, 10].find((factor) => factor * power >= rough * 0.999), ticks = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high + step * 1e-6; at++) ticks.push(Number((at * step).toPrecision(12)));
  return ticks;
}
