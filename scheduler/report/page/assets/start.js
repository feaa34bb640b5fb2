// Everything joined: one state, views that follow it, and what of them is in sight.

function start(data) {
  const began = performance.now();
  const views = [];
  const app = {
    data,
    groupIndex: 0,
    policyIndex: 0,
    filter: { type: null, cause: null, from: null, to: null, job: null },
    get group() { return data.groups[this.groupIndex]; },
    get policy() { return this.group.policies[this.policyIndex]; },
    run: null,
    set(change, section) {
      Object.assign(this.filter, change);
      refresh();
      if (section) $(section).scrollIntoView({ block: "start" });
    },
    choose(index) {
      this.policyIndex = index;
      open();
      refresh();
    },
  };
  const model = { data, open: [] };
  const dirty = new Set();
  const inSight = new Set();
  let settling = 0;

  function open() {
    const name = app.policy.policy;
    const index = data.runs.findIndex((r) => r.policy === name);
    const before = app.run;
    app.run = app.groupIndex === 0 ? openRun(model, index) : null;
    if (before && app.run !== before) Object.assign(app.filter, { from: null, to: null });
  }

  function refresh() {
    const t = performance.now();
    for (const view of views) dirty.add(view);
    flush();
    chips();
    document.body.dataset.filterMs = (performance.now() - t).toFixed(1);
    delete document.body.dataset.settled;
    clearTimeout(settling);
    settling = setTimeout(settle, 0);
  }

  // What is out of sight follows, one view at a time, so that nothing moves when it is reached.
  function settle() {
    const [view] = dirty;
    if (!view) {
      document.body.dataset.settled = "1";
      return;
    }
    dirty.delete(view);
    view.update();
    settling = setTimeout(settle, 0);
  }

  function flush(all = false) {
    for (const view of [...dirty]) {
      if (!all && !inSight.has(view.section)) continue;
      dirty.delete(view);
      view.update();
    }
  }

  function chips() {
    const { filter, run } = app;
    const list = [];
    const chip = (text, change) => list.push(el("button", { type: "button", class: "chip", "aria-label": `Remove filter ${text}`, onclick: () => app.set(change) }, named(text), " ✕"));
    if (filter.type !== null) chip(data.types[filter.type], { type: null });
    if (filter.cause !== null) chip(data.causes[filter.cause].name, { cause: null });
    if (filter.from !== null && run) chip(`${moment(filter.from * run.tick_s)} to ${moment(filter.to * run.tick_s)}`, { from: null, to: null });
    if (filter.job !== null && run) chip(`job ${short(run.jobs.id[filter.job], 40)}`, { job: null });
    if (list.length > 1) list.push(el("button", { type: "button", class: "chip", onclick: () => app.set({ type: null, cause: null, from: null, to: null, job: null }) }, "Clear all"));
    $("chips").replaceChildren(...list);
    say(list.length ? `Filtered: ${list.map((c) => c.textContent.replace("✕", "")).join(", ")}` : "No filter");
  }

  function theme(name) {
    document.documentElement.dataset.theme = name;
    $("theme").setAttribute("aria-pressed", String(name === "dark"));
    forgetColours();
  }

  function repaint() {
    for (const view of views) if (view.redraw && !dirty.has(view)) view.redraw();
  }

  if (!data.runs.length) for (const id of ["idle", "schedule", "fleet", "power"]) {
    $(id).hidden = true;
    document.querySelector(`nav a[href="#${id}"]`).hidden = true;
  }
  views.push(overviewView(app), metricsView(app));
  if (data.runs.length) views.push(idleView(app), scheduleView(app), servicesView(app), fleetView(app), energyView(app));
  views.push(proofView(app));

  const dark = matchMedia("(prefers-color-scheme: dark)");
  theme(dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => { theme(dark.matches ? "dark" : "light"); repaint(); });
  $("theme").addEventListener("click", () => {
    theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
    repaint();
  });
  $("print").addEventListener("click", () => window.print());
  let onScreen = "light";
  const toPaper = () => {
    if (document.body.dataset.printing) return;
    document.body.dataset.printing = "1";
    onScreen = document.documentElement.dataset.theme;
    theme("light");
    flush(true);
    repaint();
  };
  const fromPaper = () => {
    if (!document.body.dataset.printing) return;
    delete document.body.dataset.printing;
    theme(onScreen);
    repaint();
  };
  addEventListener("beforeprint", toPaper);
  addEventListener("afterprint", fromPaper);
  matchMedia("print").addEventListener("change", (event) => (event.matches ? toPaper() : fromPaper()));
  let waiting = 0;
  addEventListener("resize", () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(refresh);
  });

  if (data.groups.length > 1) {
    $("group-label").hidden = false;
    $("group").replaceChildren(...data.groups.map((g, i) => el("option", { value: String(i) }, g.name)));
    $("group").addEventListener("change", (event) => { app.groupIndex = Number(event.target.value); app.policyIndex = 0; open(); pickers(); refresh(); });
  }
  function pickers() {
    $("run-label").hidden = app.group.policies.length < 2;
    $("run").replaceChildren(...app.group.policies.map((p, i) => el("option", { value: String(i) }, p.policy)));
    $("run").value = String(app.policyIndex);
  }
  $("run").addEventListener("change", (event) => app.choose(Number(event.target.value)));
  const choose = app.choose;
  app.choose = function (index) { choose.call(this, index); $("run").value = String(index); };

  const best = (group) => group.policies.reduce((b, p, i) => ((p.figures.mean_jct_s[0] ?? Infinity) < (group.policies[b].figures.mean_jct_s[0] ?? Infinity) ? i : b), 0);
  app.policyIndex = best(app.group);
  open();
  pickers();
  const near = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) inSight.add(entry.target.id);
      else inSight.delete(entry.target.id);
    }
    flush();
  }, { rootMargin: "300px" });
  const reading = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      const link = document.querySelector(`nav a[href="#${entry.target.id}"]`);
      if (entry.isIntersecting && link) {
        for (const a of document.querySelectorAll("nav a[aria-current]")) a.removeAttribute("aria-current");
        link.setAttribute("aria-current", "true");
      }
    }
  }, { rootMargin: "-15% 0px -75% 0px" });
  for (const section of document.querySelectorAll("main > section")) {
    near.observe(section);
    reading.observe(section);
  }
  inSight.add("overview");
  refresh();
  requestAnimationFrame(() => {
    document.body.dataset.ready = (performance.now() - began).toFixed(1);
    document.body.dataset.pictureMs = performance.now().toFixed(1);
  });
}

loadData().then(start).catch((error) => {
  $("answer").after(el("p", { class: "no", role: "alert" }, `This page could not be drawn: ${error.message}`));
  throw error;
});
