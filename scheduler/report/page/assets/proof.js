// Energy by site and hour, and what proves the figures.

function energyView(app) {
  const drawn = memory();
  return {
    section: "power",
    update() {
      if (!app.run || drawn(app.run, app.filter.from, app.filter.to, innerWidth)) return;
      const { energy } = app.run;
      const sites = app.data.fleet.sites;
      const cards = [["kwh", "Energy", "kWh", "at the hosts, before PUE"], ["usd", "Cost", "USD", "of the facility's energy, by the tariff of the hour"], ["co2_kg", "Carbon", "kg CO₂", "of the facility's energy, by the grid of the hour"]]
        .filter(([name]) => energy[name].some((row) => row.some((v) => v > 0)))
        .map(([name, title, unit, note]) => () => energyCard(app, energy[name], sites, title, unit, note));
      if (app.run.rounds && app.run.rounds.prices) cards.push(() => priceCard(app));
      $("energy").replaceChildren(...cards.map((card) => card()));
    },
  };
}

function energyCard(app, rows, sites, title, unit, note) {
  const { run, filter } = app;
  const { bin, bins } = run.energy;
  const width = 1000;
  const height = 140;
  const sums = Array.from({ length: bins }, (_, b) => rows.reduce((a, row) => a + row[b], 0));
  const top = niceTop(Math.max(...sums, 1e-9));
  const step = (bin / run.end) * width;
  const parts = [0, 0.5, 1].map((f) => svg("line", { x1: 0, x2: width, y1: height * (1 - f), y2: height * (1 - f), stroke: "var(--line)", "vector-effect": "non-scaling-stroke" }));
  for (let b = 0; b < bins; b++) {
    let y = height;
    rows.forEach((row, s) => {
      const tall = (row[b] / top) * height;
      y -= tall;
      const on = filter.from === null || (b * bin < filter.to && (b + 1) * bin > filter.from);
      parts.push(svg("rect", { x: (b * step).toFixed(2), y: y.toFixed(2), width: Math.max(0.5, Math.min(step, width - b * step) - (step > 6 ? 1.5 : 0)).toFixed(2), height: Math.max(0, tall).toFixed(2), fill: `var(--k${s % 7})`, opacity: on ? 1 : 0.3 }));
    });
  }
  const totals = rows.map((row) => row.reduce((a, b) => a + b, 0));
  const all = totals.reduce((a, b) => a + b, 0);
  const bars = `per ${bin * run.tick_s === 3600 ? "hour" : duration(bin * run.tick_s)}`;
  return el("div", { class: "card" },
    el("h3", {}, `${title}: ${number(all)} ${unit}`), el("p", { class: "note" }, `${unit} ${bars}, ${note}.`),
    plot(parts, { box: energyBox(), width, height, top, label: `${title} in ${unit} ${bars}: ${number(all)} in all, most ${number(Math.max(...sums))}`, run, from: 0, to: run.end }),
    el("div", { class: "key" }, ...rows.map((_, s) => el("span", {}, swatch(`var(--k${s % 7})`), named(sites[s]), ` ${number(totals[s])}`))));
}

// Step curves: rows of values by instant, null where there is none.
function stepChart(app, at, rows, colours, label, box) {
  const { run } = app;
  const width = 1000;
  const height = 140;
  const top = niceTop(Math.max(...rows.flat().filter((v) => v !== null), 1e-12));
  const x = (tick) => ((Math.min(tick, run.end) / run.end) * width).toFixed(1);
  const y = (v) => (height - (v / top) * height).toFixed(1);
  const parts = [0, 0.5, 1].map((f) => svg("line", { x1: 0, x2: width, y1: y(f * top), y2: y(f * top), stroke: "var(--line)", "vector-effect": "non-scaling-stroke" }));
  rows.forEach((row, r) => {
    const d = row.map((v, i) => (v === null ? "" : `M${x(at[i])},${y(v)} H${x(at[i + 1] ?? run.end)}${i + 1 < row.length && row[i + 1] !== null ? ` V${y(row[i + 1])}` : ""}`)).join(" ");
    parts.push(svg("path", { d, fill: "none", stroke: colours[r], "stroke-width": 1.5, "vector-effect": "non-scaling-stroke" }));
  });
  return plot(parts, { box, width, height, top, label, run, from: 0, to: run.end });
}

function priceCard(app) {
  const { run, data } = app;
  const { prices, bin } = run.rounds;
  const colours = prices.map((_, t) => `var(--k${t % 7})`);
  const mean = (row) => row.reduce((a, b) => a + b, 0) / row.length;
  return el("div", { class: "card" },
    el("h3", {}, "Prices of the plan"), el("p", { class: "note" }, "What one more accelerator of each type was worth to the optimizer, mean of each hour, in percent of the highest."),
    stepChart(app, prices[0].map((_, b) => b * bin), prices, colours, `Price of an accelerator by type over time; means ${prices.map((row, t) => `${data.types[t]} ${number(mean(row))} %`).join(", ")}`, energyBox()),
    el("div", { class: "key" }, ...prices.map((row, t) => el("span", {}, swatch(colours[t]), named(data.types[t]), ` mean ${number(mean(row))} %`))));
}

// Something as wide as one of the cards will be.
function energyBox() {
  const all = $("energy").clientWidth;
  return { clientWidth: all / Math.max(1, Math.floor(all / (27 * rem()))) - 4 * rem() };
}

function proofView(app) {
  const drawn = memory();
  return {
    section: "proof",
    update() {
      const { policy, run, data } = app;
      if (drawn(policy, run, innerWidth)) return;
      const f = policy.figures;
      const facts = [];
      const add = (name, ...value) => facts.push(el("dt", {}, name), el("dd", {}, ...value));
      add("Objective", `mean completion time: ${duration(f.mean_jct_s[0])}`);
      add("Bound", policy.bounds.mean_jct_s ? `${duration(policy.bounds.mean_jct_s)}: no schedule of the jobs that finished can do better, with perfect knowledge and free preemption (${policy.bound_proof === "plan" ? "proved by prices over time" : "proved by area"})` : "none");
      add("Gap", policy.gap === null ? "–" : `${number(100 * policy.gap)} % above the bound`);
      add("Makespan", `${duration(f.makespan_s[0])}, bound ${duration(policy.bounds.makespan_s)}`);
      add("How proved", "Priced-area relaxation: a fleet of one machine that all jobs share, shortest remaining time first (Schrage) and mean busy dates (Goemans), prices by mirror ascent.");
      add("Verifier", policy.violation_count
        ? el("span", { class: "no" }, `${policy.violation_count} violations: ${policy.violations.slice(0, 5).join("; ")}`)
        : el("span", { class: "yes" }, `no violations in ${policy.seeds.length} ${policy.seeds.length === 1 ? "replay" : "replays"}; ledgers balance`));
      if (run) add("Hours of this page", run.balances < 1e-6
        ? el("span", { class: "yes" }, "sum to the run's ledger")
        : el("span", {}, `${percent(run.balances, 2)} of the accelerator-time was assigned to hours in proportion, so that they sum to the run's ledger`));
      add("Seeds", policy.seeds.length > 1 ? `${policy.seeds[0]} to ${policy.seeds[policy.seeds.length - 1]}${run ? `; drawn: ${run.seed}` : ""}` : String(policy.seeds[0]));
      add("Information", { exact: "exact: the true remaining work is known", estimates: "estimates: the users' estimates are known", none: "none: only what each job has had so far is known" }[policy.information] || policy.information);
      if (run) for (const [name, value] of Object.entries(run.solver)) add(`Solver: ${name.replaceAll("_", " ")}`, number(value));
      for (const [name, value] of data.origin.facts) add(name, named(value));
      if (data.origin.command) add("Made by", el("code", {}, named(data.origin.command)));
      const card = $("proof-card");
      card.replaceChildren(el("dl", { class: "facts" }, ...facts));
      if (run && run.rounds) card.append(el("h3", {}, "Gap of the optimizer's rounds over time"),
        el("p", { class: "note" }, "How far each round's answer lay below its bound at most, in percent of it."),
        stepChart(app, run.rounds.at, [run.rounds.gap.map((v) => (v === null ? null : 100 * v))], ["var(--k0)"], "Gap of each round in percent over time", card));
    },
  };
}
