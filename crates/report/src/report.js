// The interactive part of a report: draws what `data.rs` puts into the page, and hides, sorts and reads what stands there.
// Without it the page is whole. It needs no other file and asks nothing of a network.
"use strict";
(() => {
const SVG = "http://www.w3.org/2000/svg";
const DECADES = 20; // what lies deeper falls into the strip below the plot, as in the still plots
const MARGIN = { left: 52, right: 12, top: 26, bottom: 42 };

/** An element with attributes and children; those of a drawing by their namespace. */
const make = (space) => (name, attributes = {}, ...children) => {
  const made = space ? document.createElementNS(space, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null));
  return made;
};
const el = make(null);
const draw = make(SVG);

/** A number to three digits, with an exponent where it is very small or large. */
function digits(value) {
  if (value === 0) return "0";
  const power = Math.floor(Math.log10(Math.abs(value)));
  return power < -3 || power > 4 ? value.toExponential(1) : String(Number(value.toPrecision(3)));
}

/** Median and range; between two values, their mean. */
function spread(values) {
  const sorted = values.filter((value) => value !== null && value !== undefined && !Number.isNaN(value)).sort((a, b) => a - b);
  if (!sorted.length) return null;
  const half = sorted.length >> 1;
  const mid = sorted.length % 2 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  return { low: sorted[0], mid, high: sorted[sorted.length - 1] };
}

/** The place of the last entry of a rising list that is not above `bound`, or -1. */
const until = (list, bound) => list.findLastIndex((value) => value <= bound);

/** Round values within bounds, 1, 2 or 5 times a power of ten apart. */
function ticks(low, high, most) {
  const rough = (high - low) / most;
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((step) => step >= rough * (1 - 1e-9));
  const first = Math.ceil(low / step - 1e-9), last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
}

/** What can be shown: title, what runs along and up, how values stand, and the curve of a variant over the seeds wanted. */
function views(data) {
  const norms = data.parts.map((part) => ({
    key: part, title: `Gradient of ${part}`, along: "lag in steps", up: `‖dL/d${part}‖`, kind: "norm",
    curve: (variant, wanted, moment) => data.lags.map((lag, at) => [lag, spread(variant.runs.filter(wanted).map((run) => {
      const profile = run.profiles[part];
      const place = profile ? until(profile.steps, moment) : -1;
      const norm = place < 0 ? null : profile.norms[place][at];
      return norm === null || norm === undefined ? null : Math.log10(norm);
    }))]).filter(([, values]) => values),
  }));
  const series = (key, title, kind) => ({
    key, title, kind, along: "training step", up: kind === "share" ? "accuracy" : "loss",
    curve: (variant, wanted) => {
      const runs = variant.runs.filter(wanted).map((run) => run[key]);
      const steps = [...new Set(runs.flatMap((run) => run.steps))].sort((a, b) => a - b);
      const at = (step) => spread(runs.map((run) => run.values[until(run.steps, step)]));
      const axis = (values) => kind === "share" ? values
        : { low: Math.log10(values.low), mid: Math.log10(values.mid), high: Math.log10(values.high) };
      return steps.map((step) => [step, at(step)]).filter(([, values]) => values).map(([step, values]) => [step, axis(values)]);
    },
  });
  const all = [...norms, series("held_out", "Held-out loss", "loss"), series("training", data.training, "loss"),
    series("accuracy", "Held-out accuracy", "share")];
  return all.filter((view) => data.variants.some((variant) => view.curve(variant, () => true, Infinity).length));
}

/** Switches that hide parts of a group of the page. */
function filter(group, chosen) {
  for (const part of group.querySelectorAll("[data-variant], [data-seed]")) {
    const { variant, seed } = part.dataset;
    const off = variant !== undefined && !chosen.variants.has(Number(variant)) || seed !== undefined && !chosen.seeds.has(seed);
    part.classList.toggle("off", off);
  }
}

/** One explorer: controls, a chart, and a list of variants with their values under the cursor. */
function explore(section) {
  const data = JSON.parse(section.querySelector("script").textContent);
  const group = section.closest("[data-group]");
  const all = views(data);
  if (!all.length) return null;
  const seeds = [...new Set(data.variants.flatMap((variant) => variant.runs.map((run) => run.seed)))];
  const steps = data.variants.flatMap((variant) => variant.runs.flatMap((run) => Object.values(run.profiles).flatMap(
    (profile) => profile.steps.filter((step, at) => step === 0 || at + 1 < profile.steps.length))));
  const moments = [...new Set(steps)].sort((a, b) => a - b).concat(steps.some((step) => step > 0) ? [Infinity] : []);
  const chosen = { variants: new Set(data.variants.keys()), seeds: new Set(seeds), group };
  const state = { view: all[0], logUp: true, logAlong: false, moment: 0, at: null, curves: [], timer: null };
  const wanted = (run) => chosen.seeds.has(run.seed);
  const named = (moment) => moment === Infinity ? "the end" : moment === 0 ? "the start" : `step ${moment}`;

  const chart = draw("svg", { class: "plot live", role: "img", tabindex: 0 });
  const title = el("figcaption", { "aria-live": "polite" });
  const readings = data.variants.map((variant, index) => ({ variant, index, value: el("output", { class: "value" }) }));
  const box = (type, label, checked, change, extra = []) => el("label", {}, el("input", {
    type: "checkbox", checked, onchange: (event) => { change(event.target.checked); render(); } }), ...extra, ` ${label}`);
  const keep = (set, item) => (on) => { set[on ? "add" : "delete"](item); filter(group, chosen); };
  const swatch = (variant) => draw("svg", { class: "plot swatch", viewBox: "0 0 26 8", "aria-hidden": "true" },
    draw("path", { class: `line ${variant.line}`, d: "M0 4H26" }));
  const list = el("ul", { class: "readings" }, ...readings.map(({ variant, index, value }) =>
    el("li", {}, box("variant", variant.name, true, keep(chosen.variants, index), [swatch(variant)]), value)));
  const every = (on) => () => {
    list.querySelectorAll("input").forEach((input) => { input.checked = on; });
    chosen.variants = new Set(on ? data.variants.keys() : []);
    filter(group, chosen);
    render();
  };
  const select = el("select", { onchange: (event) => { state.view = all[Number(event.target.value)]; state.at = null; render(); } },
    ...all.map((view, index) => el("option", { value: index }, view.title)));
  const slider = el("input", { type: "range", min: 0, max: Math.max(moments.length - 1, 0), value: 0,
    oninput: (event) => { state.moment = Number(event.target.value); render(); } });
  const play = el("button", { type: "button", onclick: () => {
    const run = () => {
      state.moment = Math.min(state.moment + 1, moments.length - 1);
      slider.value = state.moment;
      if (state.moment === moments.length - 1) stop();
      render();
    };
    const stop = () => { clearInterval(state.timer); state.timer = null; };
    if (state.timer) stop();
    else {
      if (state.moment === moments.length - 1) state.moment = -1;
      state.timer = setInterval(run, 700);
      run();
    }
    render();
  } }, "Play");
  const now = el("output", {});
  const time = el("div", { class: "time" }, el("label", {}, "Training step ", slider), now, play);
  section.append(
    el("div", { class: "controls" },
      el("label", {}, "Show ", select),
      el("fieldset", {}, el("legend", {}, "Logarithmic"),
        box("axis", "vertical", true, (on) => { state.logUp = on; }), box("axis", "horizontal", false, (on) => { state.logAlong = on; })),
      el("fieldset", {}, el("legend", {}, "Seeds"), ...seeds.map((seed) => box("seed", seed, true, keep(chosen.seeds, seed)))),
      time),
    el("div", { class: "bench" }, el("figure", {}, title, chart),
      el("div", {}, list, el("p", { class: "controls" }, el("button", { type: "button", onclick: every(true) }, "All"), " ",
        el("button", { type: "button", onclick: every(false) }, "None")))));

  /** The frame of the chart: scales from values to places. Logarithms come in, and go out as they are asked for. */
  function frame() {
    const { view, logUp, logAlong, curves } = state;
    const wide = Math.max(chart.parentNode.clientWidth, 280), high = wide < 500 ? 300 : 400;
    const values = curves.flatMap(({ curve }) => curve.flatMap(([, { low, mid, high }]) => [low, mid, high]));
    const log = view.kind !== "share" && logUp;
    const up = (value) => view.kind === "share" || log ? value : 10 ** value;
    if (view.kind === "loss" && data.baseline > 0) values.push(Math.log10(data.baseline));
    const finite = values.map(up).filter(Number.isFinite);
    let top = finite.reduce((a, b) => Math.max(a, b), -Infinity), low = log ? finite.reduce((a, b) => Math.min(a, b), Infinity) : 0;
    if (!finite.length) [low, top] = [0, 1];
    if (view.kind === "share") top = 1;
    if (log) low = Math.max(low, Math.ceil(top - DECADES));
    if (top - low < 1e-12) [low, top] = [low - (log ? 0.5 : 0), top + (log ? 0.5 : 1)];
    if (view.kind !== "share") top += 0.03 * (top - low);
    const strip = log && values.some((value) => value < low) ? 16 : 0;
    const places = curves.flatMap(({ curve }) => curve.map(([at]) => at));
    const along = (at) => logAlong ? Math.log10(1 + at) : at;
    const ends = places.length ? [places.reduce((a, b) => Math.min(a, b)), places.reduce((a, b) => Math.max(a, b))] : [0, 1];
    const [from, to] = ends.map(along);
    const right = wide - MARGIN.right, bottom = high - MARGIN.bottom - strip;
    return { wide, high, log, low, top, strip, ends, right, bottom,
      x: (at) => MARGIN.left + (to > from ? (along(at) - from) / (to - from) : 0.5) * (right - MARGIN.left),
      y: (value) => up(value) < low ? bottom + strip / 2 : bottom - (up(value) - low) / (top - low) * (bottom - MARGIN.top) };
  }

  function render() {
    const { view } = state, moment = moments[state.moment];
    state.curves = readings.filter(({ index }) => chosen.variants.has(index))
      .map(({ variant, index }) => ({ variant, index, curve: view.curve(variant, wanted, moment) }));
    time.hidden = view.kind !== "norm" || moments.length < 2;
    now.textContent = named(moment).replace("step ", "");
    play.textContent = state.timer ? "Pause" : "Play";
    slider.setAttribute("aria-valuetext", named(moment));
    const f = frame();
    state.frame = f;
    const shape = (points) => points.map(([x, y], at) => `${at ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");
    const text = (name, x, y, anchor, words) => draw("text", { class: name, x, y, "text-anchor": anchor }, words);
    chart.setAttribute("viewBox", `0 0 ${f.wide} ${f.high}`);
    chart.replaceChildren(text("axis-title", 4, 12, "start", view.up));
    const power = (mark, y) => {
      const label = text("tick", MARGIN.left - 6, y + 3.5, "end", "10");
      label.append(draw("tspan", { class: "power", dy: -4 }, String(mark).replace("-", "−")));
      return label;
    };
    const decades = f.log && f.top - f.low > 2;
    const values = !f.log ? ticks(f.low, f.top, 6) : decades
      ? ticks(Math.ceil(f.low), f.top, 7).filter(Number.isInteger)
      : [1, 2, 5].flatMap((times) => Array.from({ length: 4 }, (_, at) => Math.log10(times) + Math.floor(f.low) + at))
        .filter((mark) => mark >= f.low && mark <= f.top);
    for (const mark of values) {
      const y = f.bottom - (mark - f.low) / (f.top - f.low) * (f.bottom - MARGIN.top);
      const label = f.log ? 10 ** mark : mark;
      chart.append(draw("line", { class: "grid", x1: MARGIN.left, x2: f.right, y1: y, y2: y }));
      if (f.strip && f.bottom - y < 8) continue; // the name of the strip stands there
      chart.append(decades ? power(mark, y)
        : text("tick", MARGIN.left - 6, y + 3.5, "end", view.kind === "share" ? `${Math.round(100 * label)} %` : digits(label)));
    }
    if (f.strip) {
      chart.append(draw("rect", { class: "lost", x: MARGIN.left, y: f.bottom, width: f.right - MARGIN.left, height: f.strip }),
        text("tick", MARGIN.left - 6, f.bottom + 12, "end", "below"));
    }
    const marks = state.logAlong ? [0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000] : ticks(...f.ends, f.wide < 500 ? 5 : 10);
    for (const mark of marks.filter((mark) => mark >= f.ends[0] && mark <= f.ends[1])) {
      chart.append(draw("line", { class: "axis", x1: f.x(mark), x2: f.x(mark), y1: f.bottom + f.strip, y2: f.bottom + f.strip + 4 }),
        text("tick", f.x(mark), f.bottom + f.strip + 16, "middle", String(mark)));
    }
    chart.append(draw("line", { class: "axis", x1: MARGIN.left, x2: f.right, y1: f.bottom + f.strip, y2: f.bottom + f.strip }),
      text("axis-title", (MARGIN.left + f.right) / 2, f.high - 6, "middle", view.along + (state.logAlong ? " (logarithm of 1 + steps)" : "")));
    for (const { variant, curve } of state.curves) {
      const edge = (key) => curve.map(([at, values]) => [f.x(at), f.y(values[key])]);
      if (curve.some(([, { low, high }]) => low !== high)) {
        chart.append(draw("path", { class: `band ${variant.fill}`, d: `${shape([...edge("high"), ...edge("low").reverse()])}Z` }));
      }
    }
    if (view.kind === "loss" && data.baseline > 0) {
      const y = f.y(Math.log10(data.baseline));
      chart.append(draw("path", { class: "baseline", d: `M${MARGIN.left} ${y}H${f.right}` }));
    }
    for (const { variant, curve } of state.curves) {
      chart.append(draw("path", { class: `line ${variant.line}`, d: shape(curve.map(([at, { mid }]) => [f.x(at), f.y(mid)])) }));
    }
    if (view.kind === "loss" && data.baseline > 0) {
      chart.append(text("tick over", f.right, f.y(Math.log10(data.baseline)) - 6, "end", `baseline ${digits(data.baseline)}`));
    }
    const seedsSaid = chosen.seeds.size === 1 ? `seed ${[...chosen.seeds][0]}` : `median and range over ${chosen.seeds.size} seeds`;
    const words = view.kind === "norm" && moments.length > 1 ? `${view.title} at ${named(moment)}` : view.title;
    title.textContent = `${words}, ${seedsSaid}`;
    chart.setAttribute("aria-label", `${title.textContent}. Left and right arrow keys read values.`);
    read();
  }

  /** The values under the cursor, or nothing. */
  function read() {
    const { view, at, frame: f } = state;
    chart.querySelectorAll(".cursor").forEach((mark) => mark.remove());
    readings.forEach(({ value }) => { value.textContent = ""; });
    if (at === null) return;
    chart.append(draw("path", { class: "cursor axis", d: `M${f.x(at)} ${MARGIN.top}V${f.bottom + f.strip}` }),
      draw("text", { class: "cursor tick over", x: Math.min(f.x(at) + 5, f.right - 62), y: MARGIN.top + 2 }, `${view.along.split(" ")[view.kind === "norm" ? 0 : 1]} ${at}`));
    for (const { variant, index, curve } of state.curves) {
      const place = until(curve.map(([x]) => x), at);
      if (place < 0 || view.kind === "norm" && curve[place][0] !== at) continue;
      const { low, mid, high } = curve[place][1];
      const said = (value) => view.kind === "share" ? `${(100 * value).toFixed(1)} %` : value === -Infinity ? "underflow" : digits(10 ** value);
      readings[index].value.replaceChildren(said(mid), el("small", {}, low === high ? "" : ` ${said(low)}–${said(high)}`));
      chart.append(draw("circle", { class: `cursor end ${variant.fill}`, cx: f.x(at), cy: f.y(mid), r: 3.2 }));
    }
  }

  const places = () => [...new Set(state.curves.flatMap(({ curve }) => curve.map(([at]) => at)))].sort((a, b) => a - b);
  chart.addEventListener("pointermove", (event) => {
    const x = (event.clientX - chart.getBoundingClientRect().left) / chart.getBoundingClientRect().width * state.frame.wide;
    const all = places();
    state.at = all.length ? all.reduce((best, at) => Math.abs(state.frame.x(at) - x) < Math.abs(state.frame.x(best) - x) ? at : best) : null;
    read();
  });
  chart.addEventListener("keydown", (event) => {
    const all = places(), here = state.at === null ? -1 : all.indexOf(state.at);
    const to = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: all.length - 1, PageUp: here + 10, PageDown: here - 10 }[event.key];
    if (event.key === "Escape") state.at = null;
    else if (to === undefined || !all.length) return;
    else state.at = all[Math.max(0, Math.min(to, all.length - 1))];
    event.preventDefault();
    read();
  });
  section.hidden = false;
  render();
  new ResizeObserver(() => { if (chart.parentNode.clientWidth !== state.frame.wide) render(); }).observe(chart.parentNode);
  return { data, moments, wanted, group };
}

/** Values under the cursor of the heat maps, by pointer or arrow keys. */
function heat({ data, moments, wanted, group }) {
  for (const figure of group.querySelectorAll("figure[data-heat]")) {
    const map = figure.querySelector(":scope > svg"), said = el("output", { class: "value" }), at = { column: 0, lag: -1 };
    const frame = map.querySelector(".frame"), [left, top, wide, high] = ["x", "y", "width", "height"].map((key) => Number(frame.getAttribute(key)));
    const variant = data.variants[Number(figure.dataset.variant)], lags = data.lags;
    const own = variant.runs.map((run) => run.profiles.h).filter((profile) => profile);
    const columns = moments.filter((moment) => moment === Infinity ? own.some(({ steps }) => steps.length > 1)
      : own.some(({ steps }) => steps.some((step, place) => step === moment && (step === 0 || place + 1 < steps.length))));
    const tell = () => {
      const moment = columns[at.column];
      const values = spread(variant.runs.filter(wanted).map(({ profiles: { h } }) => h && h.norms[until(h.steps, moment)]?.[at.lag])
        .map((norm) => norm === null || norm === undefined ? null : Math.log10(norm)));
      const value = !values ? "–" : values.mid === -Infinity ? "underflow" : digits(10 ** values.mid);
      said.textContent = `lag ${lags[at.lag]}, ${moment === Infinity ? "end" : `step ${moment}`}: ${value}`;
    };
    const within = (value, most) => Math.max(0, Math.min(value, most - 1));
    map.addEventListener("pointermove", (event) => {
      const box = map.getBoundingClientRect(), scale = map.viewBox.baseVal.width / box.width;
      const [x, y] = [(event.clientX - box.left) * scale - left, (event.clientY - box.top) * scale - top];
      at.column = within(Math.floor(x / wide * columns.length), columns.length);
      at.lag = within(Math.floor((1 - y / high) * lags.length), lags.length);
      tell();
    });
    map.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
      if (!move) return;
      event.preventDefault();
      [at.column, at.lag] = [within(at.column + (at.lag < 0 ? 0 : move[0]), columns.length), within(at.lag + move[1], lags.length)];
      tell();
    });
    map.setAttribute("tabindex", 0);
    figure.append(said);
  }
}

/** Heads of tables become buttons that sort; what has no number stays at the end. */
function sortable(table) {
  const [upper, lower] = table.tHead.rows, below = lower ? [...lower.cells] : [];
  const heads = [...upper.cells].flatMap((cell) => cell.colSpan > 1 ? below.splice(0, cell.colSpan) : [cell]);
  const body = table.tBodies[0], first = [...body.rows];
  const key = (row, column) => {
    const text = row.cells[column].firstChild?.nodeType === Node.TEXT_NODE ? row.cells[column].firstChild.textContent.trim() : row.cells[column].textContent.trim();
    if (column === 0) return Number.isNaN(Number(text)) ? text : Number(text);
    if (text === "underflow") return 0;
    const [, upper, , lower] = /^(?:below |> ?|about )?([-−]?[\d.]+(e[-+]?\d+)?)(?:\/(\d+))?/.exec(text) ?? [];
    return upper === undefined ? null : Number(upper.replace("−", "-")) / (lower ? Number(lower) : 1);
  };
  heads.forEach((head, column) => {
    head.replaceChildren(el("button", { type: "button", class: "sort", onclick: () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" }[head.ariaSort ?? "none"];
      heads.forEach((other) => { other.ariaSort = "none"; });
      head.ariaSort = next;
      const sign = next === "descending" ? -1 : 1;
      const rows = next === "none" ? first : first.map((row) => [key(row, column), row]).sort(([a], [b]) =>
        a === null || b === null ? (a === null) - (b === null) : sign * (typeof a === "string" ? a.localeCompare(b) : a - b)).map(([, row]) => row);
      body.append(...rows);
    } }, ...head.childNodes));
    head.ariaSort = "none";
  });
}

document.querySelectorAll("section.explore").forEach((section) => {
  const explorer = explore(section);
  if (explorer) heat(explorer);
});
document.querySelectorAll("table.summary, table.runs").forEach(sortable);
})();
