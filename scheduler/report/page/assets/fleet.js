// Fleet: the interconnect in layers, loads of links over time, a job's placement lit up.

function fleetView(app) {
  const chart = board($("network"), "Interconnect: nodes below, switches above, cables coloured by load", "network drawing");
  const state = { hover: null };
  const slider = $("fleet-time");
  slider.addEventListener("input", () => { draw(); hotTable(); });

  // First tick and end of what the slider shows; at 0 the chosen time, or all of it.
  function period() {
    const { run, filter } = app;
    const at = Number(slider.value);
    if (at > 0) return [(at - 1) * run.load.bin, Math.min(run.ledger_end, at * run.load.bin)];
    return filter.from === null ? [0, run.ledger_end] : [filter.from, filter.to];
  }

  function loads() {
    const { run, data } = app;
    const [from, to] = period();
    const { bin, bins, percent: values } = run.load;
    const first = Math.max(0, Math.min(bins - 1, Math.floor(from / bin)));
    const last = Math.min(bins, Math.max(first + 1, Math.ceil(to / bin)));
    const trunks = data.fleet.drawing.trunks.name.length;
    const mean = new Float64Array(trunks);
    const peak = new Float64Array(trunks);
    const when = new Int32Array(trunks);
    for (let t = 0; t < trunks; t++) {
      for (let b = first; b < last; b++) {
        const v = values[t * bins + b] / 100;
        mean[t] += v / (last - first);
        if (v > peak[t]) {
          peak[t] = v;
          when[t] = b;
        }
      }
    }
    return { mean, peak, when };
  }

  function held(from, to) {
    const { bars } = app.run;
    const out = new Float64Array(app.data.fleet.names.length);
    for (let i = 0; i < bars.count && bars.start[i] < to; i++) {
      const time = Math.min(bars.end[i], to) - Math.max(bars.start[i], from);
      if (time > 0) for (let p = bars.first[i]; p < bars.first[i + 1]; p++) out[bars.node[p]] += (bars.held[p] * time) / (to - from);
    }
    return out;
  }

  // Nodes of the chosen job in the period (or ever), and the trunks between them.
  function lit(from, to) {
    const { run, filter, data } = app;
    const hosts = new Set();
    if (filter.job === null) return { hosts, trunks: new Set() };
    const list = run.byJob.get(filter.job) || [];
    const now = list.filter((i) => run.bars.start[i] < to && run.bars.end[i] > from);
    for (const i of now.length ? now : list.slice(-1)) for (let p = run.bars.first[i]; p < run.bars.first[i + 1]; p++) hosts.add(run.bars.node[p]);
    const trunks = new Set();
    data.fleet.drawing.trunks.hosts.forEach((ranges, t) => {
      let inside = 0;
      for (let k = 0; k < ranges.length; k += 2) for (const h of hosts) if (h >= ranges[k] && h <= ranges[k + 1]) inside++;
      if (inside && inside < hosts.size) trunks.add(t);
    });
    return { hosts, trunks };
  }

  function places(width, height) {
    const d = app.data.fleet.drawing;
    const pad = 1.6 * rem();
    const layers = d.layers.length;
    return { x: (v) => 8 + d.x[v] * (width - 16), y: (v) => height - pad - (layers > 1 ? (d.layer[v] / (layers - 1)) * (height - 2.2 * pad) : 0) };
  }

  function draw() {
    if (!app.run) return;
    const { fleet, types } = app.data;
    const d = fleet.drawing;
    const hosts = fleet.names.length;
    const [from, to] = period();
    $("fleet-when").textContent = slider.value === "0" ? (app.filter.from === null ? "mean of the whole period" : "mean of the chosen time") : `${moment(from * app.run.tick_s)} to ${moment(to * app.run.tick_s)}`;
    const { mean } = loads();
    const busy = held(from, to);
    const chosen = lit(from, to);
    const tall = Math.round(Math.min(Math.max(15 * rem(), d.layers.length * 5 * rem()), 34 * rem()));
    state.height = tall;
    chart.paint(tall, (pen, width, height, c) => {
      const { x, y } = places(width, height);
      pen.textAlign = "left";
      pen.fillStyle = c.faint;
      d.layers.forEach((name, layer) => {
        const v = d.layer.indexOf(layer);
        if (name && v >= 0) pen.fillText(name, 0, y(v) - 1.05 * rem());
      });
      const many = d.edges.length / 3 > 1500;
      const order = [];
      for (let e = 0; e < d.edges.length; e += 3) order.push(e);
      order.sort((a, b) => mean[d.edges[a + 2]] - mean[d.edges[b + 2]]);
      for (const e of order) {
        const t = d.edges[e + 2];
        const load = mean[t];
        const on = chosen.trunks.has(t) && (d.edges[e] >= hosts || chosen.hosts.has(d.edges[e]) || fleet.drawing.trunks.hosts[t].length > 2);
        pen.strokeStyle = on ? c.accent : load > 1 ? c.hot : load > 0.02 ? c.cool : c.cable;
        pen.globalAlpha = on ? 1 : load > 0.02 ? 0.25 + 0.75 * Math.min(1, load) : many ? 0.25 : 0.6;
        pen.lineWidth = on ? 2.5 : load > 1 ? 2 : many ? 0.5 : 1;
        pen.beginPath();
        const [xa, ya, xb, yb] = [x(d.edges[e]), y(d.edges[e]), x(d.edges[e + 1]), y(d.edges[e + 1])];
        pen.moveTo(xa, ya);
        if (Math.abs(ya - yb) < 1) pen.quadraticCurveTo((xa + xb) / 2, ya + (d.edges[e] < hosts ? -1 : 1) * Math.min(2.4 * rem(), 0.14 * Math.abs(xa - xb)), xb, yb);
        else pen.lineTo(xb, yb);
        pen.stroke();
      }
      pen.globalAlpha = 1;
      const size = Math.max(2, Math.min(0.9 * rem(), ((width - 16) / hosts) * 0.8));
      for (let v = 0; v < d.x.length; v++) {
        if (v < hosts) {
          const tall = 0.9 * rem();
          const dim = app.filter.type !== null && fleet.types[v] !== app.filter.type;
          pen.globalAlpha = dim ? 0.15 : 1;
          pen.fillStyle = c.grid;
          pen.fillRect(x(v) - size / 2, y(v) - tall / 2, size, tall);
          pen.fillStyle = c[`k${fleet.types[v] % 7}`];
          const full = tall * Math.min(1, busy[v] / fleet.sizes[v]);
          pen.fillRect(x(v) - size / 2, y(v) + tall / 2 - full, size, full);
          pen.strokeStyle = chosen.hosts.has(v) ? c.mark : c.faint;
          pen.lineWidth = chosen.hosts.has(v) ? 2.5 : 0.5;
          if (size > 4 || chosen.hosts.has(v)) pen.strokeRect(x(v) - size / 2, y(v) - tall / 2, size, tall);
          pen.globalAlpha = 1;
        } else {
          pen.fillStyle = c.soft;
          pen.beginPath();
          pen.arc(x(v), y(v), many ? 2 : 3.5, 0, 7);
          pen.fill();
        }
      }
    });
    const key = types.map((t, i) => `${t}`).join(", ");
    chart.canvas.setAttribute("aria-label", `Interconnect in ${d.layers.length} layers: ${hosts} nodes (${short(key, 200)}), ${d.edges.length / 3} cables${chosen.hosts.size ? `; the chosen job is on ${chosen.hosts.size} nodes` : ""}`);
    chart.canvas.dataset.lit = String(chosen.hosts.size);
    if (!$("network-key")) $("network-now").before(el("div", { id: "network-key", class: "key" }));
    $("network-key").replaceChildren(...types.map((t, i) => el("span", {}, swatch(`var(--k${i % 7})`), named(t))), el("span", {}, swatch("var(--cool)"), "cable in use"), el("span", {}, swatch("var(--hot)"), "above 100 %"), d.dropped ? el("span", {}, `${whole(d.dropped)} cables of the lowest layer are not drawn`) : "");
  }

  function hotTable() {
    if (!app.run) return;
    const { trunks } = app.data.fleet.drawing;
    const { mean, peak, when } = loads();
    const used = [...mean.keys()].filter((t) => peak[t] > 0);
    const shared = used.filter((t) => !(trunks.hosts[t].length === 2 && trunks.hosts[t][0] === trunks.hosts[t][1]));
    const order = (shared.length ? shared : used).sort((a, b) => peak[b] - peak[a] || mean[b] - mean[a]).slice(0, 10);
    const rows = order.map((t) => el("tr", {},
      el("th", { scope: "row", class: "name-cell" }, named(trunks.name[t])), el("td", {}, trunks.tier[t]), el("td", { class: "n" }, whole(trunks.cables[t])),
      el("td", { class: "n" }, number(trunks.gbit[t])), el("td", { class: "n" }, percent(mean[t], 0)),
      el("td", { class: peak[t] > 1 ? "n no" : "n" }, percent(peak[t], 0)), el("td", { class: "n" }, moment(when[t] * app.run.load.bin * app.run.tick_s))));
    $("hot").replaceChildren(rows.length
      ? el("table", {}, el("thead", {}, el("tr", {}, ...["Leaving", "Level", "Cables", "Gbit/s", "Mean load", "Peak load", "At"].map((h, i) => el("th", { scope: "col", class: i > 1 ? "n" : null }, h)))), el("tbody", {}, ...rows))
      : el("p", { class: "note" }, "No gang left its node in this time."));
  }

  function nearest(px, py) {
    const d = app.data.fleet.drawing;
    const { x, y } = places(chart.width, state.height);
    let best = -1;
    let least = (1.2 * rem()) ** 2;
    for (let v = 0; v < d.x.length; v++) {
      const away = (x(v) - px) ** 2 + (y(v) - py) ** 2;
      if (away < least) {
        least = away;
        best = v;
      }
    }
    return best;
  }

  function describe(v) {
    const { fleet, types } = app.data;
    const hosts = fleet.names.length;
    const [from, to] = period();
    if (v >= hosts) return fleet.drawing.names[v - hosts];
    const { bars, jobs, services } = app.run;
    const here = [];
    for (let i = 0; i < bars.count && bars.start[i] < to; i++) {
      if (bars.end[i] <= from) continue;
      for (let p = bars.first[i]; p < bars.first[i + 1]; p++) if (bars.node[p] === v) here.push(bars.job[i] < 0 ? services[-1 - bars.job[i]].name : jobs.id[bars.job[i]]);
    }
    const list = [...new Set(here)];
    return `${fleet.names[v]}: ${fleet.sizes[v]} × ${types[fleet.types[v]]}, ${percent(held(from, to)[v] / fleet.sizes[v], 0)} held\n${list.slice(0, 4).map((n) => short(n, 40)).join(", ")}${list.length > 4 ? ` and ${list.length - 4} more` : ""}`;
  }

  chart.canvas.addEventListener("pointermove", (event) => {
    if (!app.run || !state.height) return;
    const v = nearest(...chart.at(event));
    tip(event, v < 0 ? "" : describe(v));
  });
  chart.canvas.addEventListener("pointerleave", (event) => tip(event, ""));
  chart.canvas.addEventListener("keydown", (event) => {
    const count = app.run ? app.data.fleet.names.length : 0;
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!count || !step) return;
    event.preventDefault();
    state.at = ((state.at ?? (step > 0 ? -1 : 0)) + step + count) % count;
    const text = describe(state.at).replace("\n", ". ");
    $("network-now").textContent = text;
    say(text);
  });

  return {
    section: "fleet",
    update() {
      if (!app.run) return;
      slider.max = String(app.run.load.bins);
      if (state.run !== app.run || state.from !== app.filter.from) slider.value = "0";
      state.run = app.run;
      state.from = app.filter.from;
      draw();
      hotTable();
    },
    redraw: draw,
  };
}
