// Overview: tiles, the waterfall, what to do, the policies side by side.

const FALL = ["down", "no_demand", "incompatible", "gang_wait", "shape", "policy", "power_cap", "headroom", "lost", "reconfiguration", "straggler", "communication"];

// Accelerator-seconds by cause of what the filters leave, and all of it.
function booked(app) {
  const { filter, policy, run, data } = app;
  if (filter.from === null || !run) {
    const row = filter.type === null ? policy.ledger : policy.by_type[data.types[filter.type]];
    const values = row || policy.ledger;
    return { values, total: values.reduce((a, b) => a + b, 0) };
  }
  const [first, last] = binRange(app);
  const values = data.causes.map(() => 0);
  run.grid.forEach((causes, t) => {
    if (filter.type !== null && filter.type !== t) return;
    causes.forEach((bins, c) => {
      for (let b = first; b < last; b++) values[c] += bins[b];
    });
  });
  return { values, total: values.reduce((a, b) => a + b, 0) };
}

// Bins within the chosen time: first, and one past the last.
function binRange({ filter, run }) {
  if (filter.from === null) return [0, run.bins];
  const first = Math.max(0, Math.floor(filter.from / run.bin));
  return [first, Math.min(run.bins, Math.max(first + 1, Math.ceil(filter.to / run.bin)))];
}

function scopeText(app) {
  const { filter, run, data } = app;
  const parts = [];
  if (filter.type !== null) parts.push(data.types[filter.type]);
  if (filter.from !== null && run) parts.push(`${moment(filter.from * run.tick_s)} to ${moment(filter.to * run.tick_s)}`);
  return parts.length ? `· ${parts.join(", ")}` : "";
}

function overviewView(app) {
  return {
    section: "overview",
    update() {
      tiles(app);
      waterfall(app);
      todo(app);
      policies(app);
    },
  };
}

function tiles(app) {
  const { policy } = app;
  const f = policy.figures;
  const several = policy.seeds.length > 1;
  const ends = ([, low, high], show) => (low === null ? (several ? "" : "one replay: no interval") : `95 %: ${show(low, high)}`);
  const shares = (low, high) => `${(100 * Math.max(0, low)).toFixed(1)}–${(100 * high).toFixed(1)} %`;
  const tile = (name, value, more) =>
    el("div", { class: "tile" }, el("p", { class: "name" }, name), el("p", { class: "value" }, value), el("p", { class: "more" }, more || "\u00a0"));
  const list = [
    tile("Mean completion time", duration(f.mean_jct_s[0]), ends(f.mean_jct_s, interval)),
    tile("No schedule can beat", duration(policy.bounds.mean_jct_s), policy.gap === null ? "" : `gap ${number(100 * policy.gap)} % of the bound`),
    tile("Idle", percent(f.idle_fraction[0]), ends(f.idle_fraction, shares)),
    tile("Waste: idle or held in vain", percent(f.waste_fraction[0]), ends(f.waste_fraction, shares)),
    tile("Jobs finished", number(f.finished[0], f.finished[0] % 1 ? 1 : 0), ["running", "waiting", "rejected"].filter((n) => f[n][0]).map((n) => `${number(f[n][0], 0)} ${n}`).join(", ")),
  ];
  if (f.slo_attainment[0] !== null) list.push(tile("Requests served", percent(f.slo_attainment[0], 2), ends(f.slo_attainment, (a, b) => `${percent(a, 2)} to ${percent(Math.min(1, b), 2)}`)));
  if (f.cost_usd[0]) list.push(tile("Energy and its cost", `${number(f.energy_j[0] / 3.6e9)} MWh`, `${whole(f.cost_usd[0])} USD, ${number(f.carbon_g[0] / 1e6)} t CO₂`));
  $("tiles").replaceChildren(...list);
}

function waterfall(app) {
  const { data, filter } = app;
  const { values, total } = booked(app);
  const index = Object.fromEntries(data.causes.map((c, i) => [c.name, i]));
  const share = (name) => (total ? values[index[name]] / total : 0);
  const rows = [];
  const row = (label, left, width, colour, value, title, dim) => {
    rows.push(label, el("div", { class: `track${dim ? " dim" : ""}`, "aria-hidden": "true", title },
      el("div", { class: "piece", style: { left: `${100 * left}%`, width: `${100 * width}%`, background: colour } })),
    el("span", { class: "amount" }, value));
  };
  const c = (name) => `var(--${name})`;
  row(el("span", { class: "label" }, "capacity"), 0, 1, c("faint"), hours(total), "All accelerator-time", false);
  let left = 1;
  for (const name of FALL) {
    const part = share(name);
    if (!part) continue;
    left = Math.max(0, left - part);
    const cause = data.causes[index[name]];
    const chosen = filter.cause === index[name];
    const button = el("button", { type: "button", "aria-pressed": String(chosen), "data-cause": name, onclick: () => app.set({ cause: chosen ? null : index[name] }) },
      swatch(c(name)), `− ${name}`);
    row(button, left, part, c(name), percent(part), cause.remedy ? `${cause.group}: removed by ${cause.remedy}` : cause.group, filter.cause !== null && !chosen);
  }
  row(el("span", { class: "label" }, swatch(c("productive")), "= productive"), 0, share("productive"), c("productive"), percent(share("productive")), "Work at the best rate of the gang's types", false);
  $("waterfall").replaceChildren(el("div", { class: "fall" }, ...rows));
  for (const scope of document.querySelectorAll("#waterfall-card .scope, #idle .scope")) scope.textContent = scopeText(app);
}

// The largest (type, cause) pairs: what they are, and what one can do.
function losses(app) {
  const { data, policy, run, filter } = app;
  const found = [];
  const names = data.types.length ? data.types : Object.keys(policy.by_type);
  names.forEach((type, t) => {
    if (filter.type !== null && filter.type !== t) return;
    const row = filter.from === null || !run ? policy.by_type[type] : booked({ ...app, filter: { ...filter, type: t } }).values;
    if (!row) return;
    data.causes.forEach((cause, c) => {
      if (row[c] > 0 && (cause.group === "idle" || cause.group === "held" || cause.group === "down") && (filter.cause === null || filter.cause === c)) {
        found.push({ t, c, seconds: row[c], of: row.reduce((a, b) => a + b, 0) });
      }
    });
  });
  return found.sort((a, b) => b.seconds - a.seconds);
}

function todo(app) {
  const { data, policy } = app;
  const names = data.types.length ? data.types : Object.keys(policy.by_type);
  const items = losses(app).slice(0, 6).map(({ t, c, seconds, of }) => {
    const cause = data.causes[c];
    const pick = el("button", { type: "button", onclick: () => app.set({ type: data.types.length ? t : null, cause: c }) }, named(`${names[t]}: ${cause.name}`));
    return el("li", {}, swatch(`var(--${cause.name})`), pick, ` ${hours(seconds)}, ${percent(seconds / of)} of the type`,
      cause.remedy && el("div", { class: "small" }, `What removes it: ${cause.remedy}`));
  });
  $("todo").replaceChildren(...(items.length ? items : [el("li", {}, "Nothing is lost here.")]));
}

function policies(app) {
  const rows = app.group.policies;
  const times = rows.flatMap((p) => p.figures.mean_jct_s.filter((v) => v !== null));
  const top = Math.max(...times, 1e-9);
  const several = rows.length > 1;
  const head = ["Policy", "Mean completion", "95 % interval and bound", several && `Change from ${rows[0].policy}`, "Bound", "Gap", "p99", "Makespan", "Idle", "Waste", "Utilised"];
  const numeric = new Set([1, 3, 4, 5, 6, 7, 8, 9, 10]);
  const body = rows.map((p, i) => {
    const f = p.figures;
    const pick = el("button", { type: "button", "data-policy": String(i), "aria-pressed": String(i === app.policyIndex), onclick: () => app.choose(i) }, named(p.policy));
    const cells = [
      el("th", { scope: "row", class: "name-cell" }, several ? pick : named(p.policy), p.violation_count ? el("div", { class: "no small" }, `${p.violation_count} violations`) : null),
      cell(duration(f.mean_jct_s[0])),
      el("td", {}, whisker(p, top)),
      several && change(p, rows[0]),
      cell(duration(p.bounds.mean_jct_s)),
      cell(p.gap === null ? "–" : `${number(100 * p.gap)} %`),
      cell(duration(f.p99_jct_s[0])),
      cell(duration(f.makespan_s[0])),
      cell(percent(f.idle_fraction[0])),
      cell(percent(f.waste_fraction[0])),
      cell(percent(f.utilisation[0])),
    ];
    return el("tr", { class: several && i === app.policyIndex ? "chosen" : null }, ...cells);
  });
  $("policies").replaceChildren(el("table", {},
    el("thead", {}, el("tr", {}, ...head.map((h, i) => h && el("th", { scope: "col", class: numeric.has(i) ? "n" : null }, h)))),
    el("tbody", {}, ...body)));
  const seeds = rows[0].seeds;
  const notes = [seeds.length > 1 ? `Means over ${seeds.length} replays (seeds ${seeds[0]} to ${seeds[seeds.length - 1]}); intervals are 95 %, changes are paired by seed.` : "One replay of each policy: several (--replays 8) would give intervals and significance."];
  if (app.run) notes.push(`The pictures below show the replay of ${app.run.policy} with seed ${app.run.seed}.`);
  $("policies-note").textContent = notes.join(" ");
}

const cell = (text) => el("td", { class: "n" }, text);

function whisker(p, top) {
  const [mean, low, high] = p.figures.mean_jct_s;
  const x = (v) => 100 * Math.min(1, Math.max(0, v / top));
  const label = `mean ${duration(mean)}${low === null ? "" : `, 95 % interval ${interval(low, high)}`}, bound ${duration(p.bounds.mean_jct_s)}`;
  const parts = [svg("line", { x1: 0, x2: 100, y1: 8, y2: 8, stroke: "var(--grid)", "stroke-width": 6, "vector-effect": "non-scaling-stroke" })];
  if (mean !== null) parts.push(svg("rect", { x: 0, y: 5, width: x(mean), height: 6, fill: "var(--k0)", opacity: 0.35 }));
  if (low !== null) parts.push(svg("line", { x1: x(low), x2: x(high), y1: 8, y2: 8, stroke: "var(--k0)", "stroke-width": 2, "vector-effect": "non-scaling-stroke" }));
  if (mean !== null) parts.push(svg("rect", { x: x(mean) - 0.7, y: 3, width: 1.4, height: 10, fill: "var(--k0)" }));
  if (p.bounds.mean_jct_s) parts.push(svg("rect", { x: x(p.bounds.mean_jct_s) - 0.5, y: 1, width: 1, height: 14, fill: "var(--good)" }));
  return svg("svg", { viewBox: "0 0 100 16", preserveAspectRatio: "none", role: "img", "aria-label": label, style: { "min-width": "8rem", height: "1.2rem" } }, ...parts);
}

function change(p, first) {
  const d = p.differences.mean_jct_s;
  if (p === first || !d) return cell(p === first ? "" : "–");
  const base = first.figures.mean_jct_s[0];
  const [mean, low, high, clear] = d;
  const half = low === null ? "" : ` ± ${number((100 * (high - low)) / 2 / base)}`;
  const word = low === null ? "" : clear ? (mean < 0 ? "clearly less" : "clearly more") : "not clear";
  return el("td", { class: "n" }, `${mean > 0 ? "+" : "−"}${number(Math.abs((100 * mean) / base))}${half} %`, word && el("div", { class: clear ? "clear-yes small" : "clear-no small" }, word));
}
