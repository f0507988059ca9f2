/** Switches that hide parts of a group of the page. */
function filter(group, chosen) {
  for (const part of group.querySelectorAll("[data-variant], [data-seed]")) {
    const { variant, seed } = part.dataset;
    const off = variant !== undefined && !chosen.variants.has(Number(variant))
      || seed !== undefined && !chosen.seeds.has(seed);
    part.classList.toggle("off", off);
  }
}

/** One explorer: controls, a chart, and a list of variants with their values under the cursor. */
function explore(section) {
  const data = JSON.parse(section.querySelector("script").textContent);
  const group = section.closest("[data-group]"), prefix = section.dataset.prefix;
  const all = views(data);
  if (!all.length) return null;
  const seeds = [...new Set(data.variants.flatMap(({ runs }) => runs.map((run) => run.seed)))];
  const steps = data.variants.flatMap(({ runs }) =>
    runs.flatMap((run) => Object.values(run.profiles).flatMap(({ steps }) =>
      steps.filter((step, at) => step === 0 || at + 1 < steps.length))));
  const moments = [...new Set(steps)].sort((a, b) => a - b)
    .concat(steps.some((step) => step > 0) ? [Infinity] : []);
  const chosen = { variants: new Set(data.variants.keys()), seeds: new Set(seeds) };
  const state = { view: all[0], logUp: true, logAlong: false, moment: 0, at: null, timer: null };
  const wanted = (run) => chosen.seeds.has(run.seed);

  const chart = draw("svg", { class: "plot live", role: "img", tabindex: 0 });
  const title = el("figcaption", {});
  const readings = data.variants.map((variant, index) =>
    ({ variant, index, value: el("span", { class: "value" }) }));
  const box = (label, checked, change, extra = []) => {
    const input = el("input", { type: "checkbox", checked,
      onchange: (event) => { change(event.target.checked); changed(); } });
    return el("label", {}, input, ...extra, ` ${label}`);
  };
  const keep = (name, item) => (on) => chosen[name][on ? "add" : "delete"](item);
  const list = el("ul", { class: "readings" }, ...readings.map(({ variant, index, value }) =>
    el("li", {},
      box(variant.name, true, keep("variants", index), [swatch(variant.line)]), value)));
  const every = (on) => () => {
    chosen.variants = on ? new Set(data.variants.keys()) : new Set();
    changed();
  };
  const select = el("select",
    { onchange: (event) => { state.view = all[event.target.value]; state.at = null; changed(); } },
    ...all.map((view, index) => el("option", { value: index }, view.title)));
  const slider = el("input", {
    type: "range", min: 0, max: Math.max(moments.length - 1, 0), value: 0,
    oninput: (event) => { state.moment = Number(event.target.value); changed(); } });
  const play = el("button", { type: "button", onclick: () => {
    const stop = () => { clearInterval(state.timer); state.timer = null; };
    const run = () => {
      state.moment = Math.min(state.moment + 1, moments.length - 1);
      if (state.moment === moments.length - 1) stop();
      changed();
    };
    if (state.timer) {
      stop();
      changed();
    } else {
      if (state.moment === moments.length - 1) state.moment = -1;
      state.timer = setInterval(run, 700);
      run();
    }
  } }, "Play");
  const now = el("span", { class: "now" });
  const time = el("div", { class: "time" }, el("label", {}, "Training step ", slider), now, play);
  const axes = el("fieldset", {}, el("legend", {}, "Logarithmic"),
    box("vertical", true, (on) => { state.logUp = on; }),
    box("horizontal", false, (on) => { state.logAlong = on; }));
  const seedBoxes = el("fieldset", {}, el("legend", {}, "Seeds"),
    ...seeds.map((seed) => box(seed, true, keep("seeds", seed))));
  const permalink = el("a", { href: "#", class: "permalink", onclick: (event) => {
    navigator.clipboard?.writeText(event.target.href).then(() => announce("link copied"), () => {});
  } }, "Link to this view");
  const showAll = el("button", { type: "button", onclick: every(true) }, "All");
  const none = el("button", { type: "button", onclick: every(false) }, "None");
  section.append(
    el("div", { class: "controls" }, el("label", {}, "Show ", select), axes, seedBoxes, time),
    el("div", { class: "bench" }, el("figure", {}, title, chart),
      el("div", {}, list, el("p", { class: "controls" }, showAll, " ", none, " ", permalink))));
  section.hidden = false;
  const chartPlot = plot(chart);
  chart.parentNode.append(saving(() => `${prefix}${state.view.key}`, chart, chartPlot));

  /** The state for the address: everything that differs from the start. */
  const kept = (options) => {
    const names = (indices) => indices.map((index) => data.variants[index].name);
    const hidden = [...data.variants.keys()].filter((index) => !chosen.variants.has(index));
    const put = (name, value) => value !== "" && options.append(prefix + name, value);
    put("show", state.view === all[0] ? "" : state.view.key);
    put("step", state.moment === 0 ? "" : named(moments[state.moment]).replace("step ", ""));
    put("up", state.logUp ? "" : "linear");
    put("along", state.logAlong ? "logarithmic" : "");
    names(hidden).forEach((name) => put("hide", name));
    seeds.filter((seed) => !chosen.seeds.has(seed)).forEach((seed) => put("without-seed", seed));
  };
  const restore = (options) => {
    const get = (name) => options.get(prefix + name);
    const getAll = (name) => options.getAll(prefix + name);
    state.view = all.find((view) => view.key === get("show")) ?? all[0];
    const step = get("step") ?? "the start";
    const place = moments.findIndex((moment) => named(moment).replace("step ", "") === step);
    state.moment = Math.max(place, 0);
    state.logUp = get("up") !== "linear";
    state.logAlong = get("along") === "logarithmic";
    const hidden = new Set(getAll("hide")), left = new Set(getAll("without-seed"));
    chosen.variants = new Set([...data.variants.keys()]
      .filter((index) => !hidden.has(data.variants[index].name)));
    chosen.seeds = new Set(seeds.filter((seed) => !left.has(seed)));
    state.at = null;
    render();
  };

  /** After a change by the reader: draw, and keep it in the address. */
  function changed() {
    render();
    remember();
    permalink.href = location.hash || "#view:";
  }

  function render() {
    const { view } = state, moment = moments[state.moment];
    // The controls show the present state, however it was changed.
    select.value = all.indexOf(view);
    slider.value = state.moment;
    const [up, along] = axes.querySelectorAll("input");
    [up.checked, along.checked] = [state.logUp, state.logAlong];
    seedBoxes.querySelectorAll("input").forEach((input, at) => {
      input.checked = chosen.seeds.has(seeds[at]);
    });
    list.querySelectorAll("input").forEach((input, at) => {
      input.checked = chosen.variants.has(at);
    });
    filter(group, chosen);
    time.hidden = view.kind !== "norm" || moments.length < 2;
    now.textContent = named(moment).replace("step ", "");
    play.textContent = state.timer ? "Pause" : "Play";
    slider.setAttribute("aria-valuetext", named(moment));
    const lines = readings.filter(({ index }) => chosen.variants.has(index))
      .map(({ variant, index }) => ({ index, name: variant.name, line: variant.line,
        fill: variant.fill, curve: view.curve(variant, wanted, moment) }));
    const over = chosen.seeds.size === 1 ? `seed ${[...chosen.seeds][0]}`
      : `median and range over ${chosen.seeds.size} seeds`;
    const what = view.kind === "norm" && moments.length > 1
      ? `${view.title} at ${named(moment)}` : view.title;
    title.textContent = `${what}, ${over}`;
    const baseline = view.kind === "loss" && data.baseline > 0 ? data.baseline : 0;
    chartPlot.show({ view, lines, logUp: state.logUp, logAlong: state.logAlong, baseline,
      label: `${title.textContent}. Left and right arrow keys read values.` });
    read();
  }

  /** The values under the cursor, or nothing. */
  function read(aloud = false) {
    readings.forEach(({ value }) => { value.textContent = ""; });
    const values = chartPlot.mark(state.at), words = [];
    chartPlot.spec().lines.forEach(({ index, name }, at) => {
      if (!values[at]) return;
      const { mid, range } = values[at];
      readings[index].value.replaceChildren(mid, el("small", {}, range && ` ${range}`));
      words.push(`${name} ${mid}`);
    });
    const word = state.view.kind === "norm" ? "lag" : "step";
    if (aloud && words.length) announce(`${word} ${state.at}: ${words.join(", ")}`);
  }

  chart.addEventListener("pointermove", (event) => {
    state.at = chartPlot.under(event);
    read();
  });
  chart.addEventListener("keydown", (event) => {
    const at = chartPlot.after(event.key, state.at);
    if (at === undefined) return;
    state.at = at;
    event.preventDefault();
    read(true);
  });
  return { data, all, moments, wanted, group, prefix, kept, restore };
}
