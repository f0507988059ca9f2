const DECADES = 20; // values deeper than that fall into the strip below a plot, as in still plots
const MARGIN = { left: 58, right: 26, top: 26, bottom: 42 };

/**
 * A chart that is drawn anew as what it shows changes. `show` takes
 * `{ view, lines: [{ line, fill, curve }], logUp, logAlong, baseline, label }`.
 */
function plot(chart) {
  let spec = null, frame = null;
  const text = (name, x, y, anchor, words) =>
    draw("text", { class: name, x, y, "text-anchor": anchor }, words);
  const shape = (points) =>
    points.map(([x, y], at) => `${at ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

  /** Scales from values to places. Logarithms come in, and go out as they are asked for. */
  function scales() {
    const { view, lines, logUp, logAlong, baseline } = spec;
    const wide = Math.max(chart.parentNode.clientWidth, 280), high = wide < 500 ? 300 : 400;
    const values = lines.flatMap(({ curve }) =>
      curve.flatMap(([, { low, mid, high }]) => [low, mid, high]));
    const log = view.kind !== "share" && logUp;
    const up = (value) => view.kind === "share" || log ? value : 10 ** value;
    if (baseline) values.push(Math.log10(baseline));
    const finite = values.map(up).filter(Number.isFinite);
    let top = finite.reduce((a, b) => Math.max(a, b), -Infinity);
    let low = log ? finite.reduce((a, b) => Math.min(a, b), Infinity) : 0;
    if (!finite.length) [low, top] = [0, 1];
    if (view.kind === "share") top = 1;
    if (log) low = Math.max(low, Math.ceil(top - DECADES));
    if (top - low < 1e-12) [low, top] = [low - (log ? 0.5 : 0), top + (log ? 0.5 : 1)];
    if (view.kind !== "share") top += 0.03 * (top - low);
    const strip = log && values.some((value) => value < low) ? 16 : 0;
    const places = lines.flatMap(({ curve }) => curve.map(([at]) => at));
    const along = (at) => logAlong ? Math.log10(1 + at) : at;
    const ends = places.length
      ? [places.reduce((a, b) => Math.min(a, b)), places.reduce((a, b) => Math.max(a, b))] : [0, 1];
    const [from, to] = ends.map(along);
    const right = wide - MARGIN.right, bottom = high - MARGIN.bottom - strip;
    return {
      wide, high, log, low, top, strip, ends, right, bottom,
      x: (at) => MARGIN.left
        + (to > from ? (along(at) - from) / (to - from) : 0.5) * (right - MARGIN.left),
      y: (value) => up(value) < low ? bottom + strip / 2
        : bottom - (up(value) - low) / (top - low) * (bottom - MARGIN.top),
    };
  }

  function axes() {
    const { view, logAlong } = spec, f = frame, all = [text("axis-title", 4, 12, "start", view.up)];
    const power = (mark, y) => {
      const label = text("tick", MARGIN.left - 6, y + 3.5, "end", "10");
      label.append(draw("tspan", { class: "power", dy: -4 }, String(mark).replace("-", "−")));
      return label;
    };
    const decades = f.log && f.top - f.low > 2;
    const fine = () => {
      const round = [1, 2, 5]
        .flatMap((times) => Array.from({ length: 4 }, (_, at) =>
          Math.log10(times) + Math.floor(f.low) + at))
        .filter((mark) => mark >= f.low && mark <= f.top);
      return round.length > 1 ? round : ticks(10 ** f.low, 10 ** f.top, 5).map(Math.log10);
    };
    const values = !f.log ? ticks(f.low, f.top, 6)
      : decades ? ticks(Math.ceil(f.low), f.top, 7).filter(Number.isInteger) : fine();
    for (const mark of values) {
      const y = f.bottom - (mark - f.low) / (f.top - f.low) * (f.bottom - MARGIN.top);
      const value = f.log ? 10 ** mark : mark;
      all.push(draw("line", { class: "grid", x1: MARGIN.left, x2: f.right, y1: y, y2: y }));
      if (f.strip && f.bottom - y < 8) continue; // the name of the strip stands there
      const words = view.kind === "share" ? `${Math.round(100 * value)} %` : digits(value);
      all.push(decades ? power(mark, y) : text("tick", MARGIN.left - 6, y + 3.5, "end", words));
    }
    if (f.strip) {
      all.push(draw("rect", { class: "lost", x: MARGIN.left, y: f.bottom,
        width: f.right - MARGIN.left, height: f.strip }));
      all.push(text("tick", MARGIN.left - 6, f.bottom + 12, "end", "below"));
    }
    const foot = f.bottom + f.strip;
    const marks = logAlong ? [0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000]
      : ticks(...f.ends, f.wide < 500 ? 5 : 10);
    for (const mark of marks.filter((mark) => mark >= f.ends[0] && mark <= f.ends[1])) {
      const x = f.x(mark);
      all.push(draw("line", { class: "axis", x1: x, x2: x, y1: foot, y2: foot + 4 }));
      all.push(text("tick", x, foot + 16, "middle", String(mark)));
    }
    all.push(draw("line", { class: "axis", x1: MARGIN.left, x2: f.right, y1: foot, y2: foot }));
    const along = view.along + (logAlong ? " (logarithm of 1 + steps)" : "");
    all.push(text("axis-title", (MARGIN.left + f.right) / 2, f.high - 6, "middle", along));
    return all;
  }

  function show(next) {
    spec = next;
    frame = scales();
    const f = frame, { lines, baseline } = spec;
    chart.setAttribute("viewBox", `0 0 ${f.wide} ${f.high}`);
    chart.setAttribute("aria-label", spec.label);
    chart.replaceChildren(...axes());
    for (const { fill, curve } of lines) {
      const edge = (key) => curve.map(([at, values]) => [f.x(at), f.y(values[key])]);
      if (curve.some(([, { low, high }]) => low !== high)) {
        const outline = `${shape([...edge("high"), ...edge("low").reverse()])}Z`;
        chart.append(draw("path", { class: `band ${fill}`, d: outline }));
      }
    }
    if (baseline) {
      const y = f.y(Math.log10(baseline)), words = `baseline ${digits(baseline)}`;
      chart.append(draw("path", { class: "baseline", d: `M${MARGIN.left} ${y}H${f.right}` }));
      // Its name stands above the frame, where no curve runs.
      const from = f.right - 6.2 * words.length - 30;
      chart.append(draw("path", { class: "baseline", d: `M${from} 8.5H${from + 22}` }));
      chart.append(text("tick", f.right, 12, "end", words));
    }
    for (const { line, curve } of lines) {
      const points = curve.map(([at, { mid }]) => [f.x(at), f.y(mid)]);
      chart.append(draw("path", { class: `line ${line}`, d: shape(points) }));
    }
  }

  /** Marks a place, and returns the values of all lines there. */
  function mark(at) {
    chart.querySelectorAll(".cursor").forEach((mark) => mark.remove());
    if (at === null) return [];
    const f = frame, { view, lines } = spec;
    const word = view.kind === "norm" ? "lag" : "step", x = Math.min(f.x(at) + 5, f.right - 62);
    chart.append(
      draw("path", { class: "cursor axis", d: `M${f.x(at)} ${MARGIN.top}V${f.bottom + f.strip}` }),
      text("cursor tick over", x, MARGIN.top + 2, "start", `${word} ${at}`));
    return lines.map(({ fill, curve }) => {
      const place = until(curve.map(([x]) => x), at);
      if (place < 0 || view.kind === "norm" && curve[place][0] !== at) return null;
      const { low, mid, high } = curve[place][1];
      const y = f.y(mid);
      chart.append(draw("circle", { class: `cursor end ${fill}`, cx: f.x(at), cy: y, r: 3.2 }));
      const words = (value) => view.kind === "share" ? `${(100 * value).toFixed(1)} %`
        : value === -Infinity ? "underflow" : digits(10 ** value);
      return { mid: words(mid), range: low === high ? "" : `${words(low)}–${words(high)}` };
    });
  }

  const places = () => [...new Set(spec.lines.flatMap(({ curve }) => curve.map(([at]) => at)))]
    .sort((a, b) => a - b);

  /** The place under the pointer. */
  function under(event) {
    const box = chart.getBoundingClientRect(), all = places();
    const x = (event.clientX - box.left) / box.width * frame.wide;
    const nearer = (best, at) =>
      Math.abs(frame.x(at) - x) < Math.abs(frame.x(best) - x) ? at : best;
    return all.length ? all.reduce(nearer) : null;
  }

  /** The place after a key, from the place `at`; undefined if the key means nothing. */
  function after(key, at) {
    const all = places(), here = at === null ? -1 : all.indexOf(at);
    if (key === "Escape") return null;
    const to = { ArrowLeft: here - 1, ArrowRight: here + 1, Home: 0, End: all.length - 1,
      PageUp: here + 10, PageDown: here - 10 }[key];
    if (to === undefined || !all.length) return undefined;
    return all[Math.max(0, Math.min(to, all.length - 1))];
  }

  new ResizeObserver(() => {
    if (spec && chart.parentNode.clientWidth !== frame.wide) show(spec);
  }).observe(chart.parentNode);
  return { show, mark, under, after, frame: () => frame, spec: () => spec };
}
