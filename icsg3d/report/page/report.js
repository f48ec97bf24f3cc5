"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (name) => document.getElementById(name);
  const columns = new Map(data.columns.map((column) => [column.key, column]));
  const perPage = { cards: innerWidth < 600 ? 12 : 24, table: 50 };
  const state = { view: "cards", page: 0, sort: "index", descending: false, shown: [] };

  // ---- small helpers: every text goes through textContent -------------------------------------------------------

  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "class") made.className = value;
      else made.setAttribute(key, value);
    }
    made.append(...children);
    return made;
  }

  function formula(text) {
    const made = element("span");
    if (!/^[A-Za-z0-9().]+$/.test(text)) { made.textContent = text; return made; }
    for (const part of text.split(/(\d+(?:\.\d+)?)/)) {
      if (/^\d/.test(part)) made.append(element("sub", {}, part));
      else if (part) made.append(part);
    }
    return made;
  }

  function number(value, digits) {
    if (Number.isInteger(value) && digits === 0) return String(value);
    return value.toFixed(digits).replace("-", "\u2212");
  }

  function written(column, values) {
    const value = values[column.key];
    if (value === undefined || value === null || value === "") return "";
    if (column.kind !== "number" || typeof value !== "number") return String(value);
    const spread = values[`${column.key}_std`];
    const plus = typeof spread === "number" ? ` ± ${number(spread, column.digits)}` : "";
    return number(value, column.digits) + plus;
  }

  const withUnit = (column, text) => (text && column.unit ? `${text} ${column.unit}` : text);
  const elementsOf = (row) => new Set((row.g ? row.g.z : []).map((z) => data.elements[z].s));
  const named = (row) => `${row.v.formula}, No. ${row.v.index}`;

  // ---- geometry: the cell, the atoms in it and on its faces, bonds ----------------------------------------------

  const NEAR_FACE = 0.06;

  function expanded(g) {
    const cart = ([x, y, z]) => [0, 1, 2].map((k) => x * g.m[k] + y * g.m[3 + k] + z * g.m[6 + k]);
    const atoms = [];
    g.z.forEach((z, i) => {
      let images = [[0, 1, 2].map((k) => {
        const inside = ((g.x[3 * i + k] % 1) + 1) % 1;
        return inside > 1 - NEAR_FACE ? inside - 1 : inside;
      })];
      for (const axis of [0, 1, 2]) {
        const moved = images.filter((x) => x[axis] < NEAR_FACE).map((x) => x.map((v, k) => (k === axis ? v + 1 : v)));
        images = images.concat(moved);
      }
      for (const x of images) atoms.push({ z, p: cart(x) });
    });
    const corners = [0, 1, 2, 3, 4, 5, 6, 7].map((n) => cart([n & 1, (n >> 1) & 1, (n >> 2) & 1]));
    const edges = [];
    for (let a = 0; a < 8; a++) for (const bit of [1, 2, 4]) if (!(a & bit)) edges.push([corners[a], corners[a | bit]]);
    const centre = cart([0.5, 0.5, 0.5]);
    return { atoms, edges, centre, bonds: bondsAmong(atoms) };
  }

  // For the eye alone: atoms of unlike electronegativity that are about as near as their radii say.
  function bondsAmong(atoms) {
    const bonds = [];
    if (atoms.length > 400) return bonds;
    for (let i = 0; i < atoms.length; i++) {
      const a = data.elements[atoms[i].z];
      for (let j = i + 1; j < atoms.length; j++) {
        const b = data.elements[atoms[j].z];
        if (Math.abs(a.e - b.e) < 0.7) continue;
        const d = Math.hypot(...atoms[i].p.map((v, k) => v - atoms[j].p[k]));
        if (d > 0.4 && d < 1.2 * (a.r + b.r)) bonds.push([i, j]);
      }
    }
    return bonds;
  }

  const ballRadius = (z) => 0.28 + 0.22 * data.elements[z].r;

  // ---- the picture: works without WebGL -------------------------------------------------------------------------

  const DEFAULT_VIEW = { turn: 0.42, tilt: 0.28, zoom: 1 };

  function draw(canvas, g, view = DEFAULT_VIEW) {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth || 220, canvas.clientHeight || 168];
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const ink = getComputedStyle(document.body).color;
    const cell = expanded(g);
    const [cosT, sinT, cosV, sinV] = [Math.cos(view.turn), Math.sin(view.turn), Math.cos(view.tilt), Math.sin(view.tilt)];
    const seen = (p) => {
      const [x, y, z] = p.map((v, k) => v - cell.centre[k]);
      const [sx, depth] = [x * cosT - y * sinT, x * sinT + y * cosT];
      return [sx, z * cosV + depth * sinV, depth * cosV - z * sinV];
    };
    const reach = Math.max(...cell.edges.flat().map((p) => Math.hypot(...p.map((v, k) => v - cell.centre[k])))) + 0.6;
    const scale = (view.zoom * Math.min(width, height)) / (2 * reach);
    const onto = (p) => { const [x, y, depth] = seen(p); return [width / 2 + scale * x, height / 2 - scale * y, depth]; };
    pen.strokeStyle = ink;
    pen.globalAlpha = 0.45;
    pen.lineWidth = 1;
    for (const [a, b] of cell.edges) {
      const [p, q] = [onto(a), onto(b)];
      pen.beginPath(); pen.moveTo(p[0], p[1]); pen.lineTo(q[0], q[1]); pen.stroke();
    }
    pen.globalAlpha = 1;
    const places = cell.atoms.map((atom) => onto(atom.p));
    const things = cell.atoms.map((atom, i) => ({ depth: places[i][2], atom, at: places[i] }));
    for (const [i, j] of cell.bonds) {
      const [from, to] = outside(cell.atoms[i], cell.atoms[j], places[i], places[j]);
      things.push({ depth: (places[i][2] + places[j][2]) / 2 + 0.01, from, to });
    }
    things.sort((one, other) => other.depth - one.depth);
    for (const thing of things) {
      if (thing.from) {
        pen.strokeStyle = "#8a8f98"; pen.lineWidth = Math.max(1.5, 0.12 * scale);
        pen.beginPath(); pen.moveTo(thing.from[0], thing.from[1]); pen.lineTo(thing.to[0], thing.to[1]); pen.stroke();
        continue;
      }
      const kind = data.elements[thing.atom.z];
      const radius = scale * ballRadius(thing.atom.z);
      pen.beginPath(); pen.arc(thing.at[0], thing.at[1], radius, 0, 2 * Math.PI);
      pen.fillStyle = kind.c; pen.fill();
      pen.strokeStyle = "#333"; pen.lineWidth = 0.8; pen.stroke();
      if (radius > 6) {
        pen.fillStyle = dark(kind.c) ? "#fff" : "#000";
        pen.font = `${Math.round(Math.min(13, radius))}px sans-serif`;
        pen.textAlign = "center"; pen.textBaseline = "middle";
        pen.fillText(kind.s, thing.at[0], thing.at[1]);
      }
    }
  }

  // The part of a bond that is outside its two balls, as seen.
  function outside(a, b, from, to) {
    const length = Math.hypot(...a.p.map((v, k) => v - b.p[k]));
    const [start, end] = [ballRadius(a.z) / length, 1 - ballRadius(b.z) / length];
    const at = (share) => [0, 1].map((k) => from[k] + share * (to[k] - from[k]));
    return [at(Math.min(start, 0.5)), at(Math.max(end, 0.5))];
  }

  function dark(colour) {
    const [r, g, b] = [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16));
    return 0.299 * r + 0.587 * g + 0.114 * b < 130;
  }

  // ---- filtering and sorting ------------------------------------------------------------------------------------

  const haystacks = data.rows.map((row) =>
    ["formula", "source", "space_group", "status", "novelty", "reason", "prototype"].map((key) => row.v[key] || "").join(" ").toLowerCase());
  const inside = data.rows.map(elementsOf);
  const known = new Set(Object.values(data.elements).map((each) => each.s));

  function matches(index, word) {
    if (word.startsWith("-") && word.length > 1) return !matches(index, word.slice(1));
    return known.has(word) ? inside[index].has(word) : haystacks[index].includes(word.toLowerCase());
  }

  function filtered() {
    const words = byId("search").value.split(/[\s,]+/).filter(Boolean);
    const status = byId("status").value;
    const column = byId("range-column").value;
    const [low, high] = ["range-low", "range-high"].map((name) => byId(name).valueAsNumber);
    const ranged = Number.isFinite(low) || Number.isFinite(high);
    return data.rows.map((row, index) => index).filter((index) => {
      const values = data.rows[index].v;
      if (status && values.status !== status) return false;
      if (!words.every((word) => matches(index, word))) return false;
      if (!ranged) return true;
      const value = values[column];
      return typeof value === "number" && !(value < low) && !(value > high);
    });
  }

  function compare(one, other) {
    const [a, b] = [data.rows[one].v[state.sort], data.rows[other].v[state.sort]];
    const [none, nothing] = [a, b].map((value) => value === undefined || value === null || value === "");
    if (none || nothing) return none - nothing || one - other; // what is unknown comes last, in either direction
    const order = typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en");
    return (state.descending ? -order : order) || one - other;
  }

  function refresh({ keepPage = false } = {}) {
    state.shown = filtered().sort(compare);
    if (!keepPage) state.page = 0;
    show();
  }

  function show() {
    const size = perPage[state.view];
    const pages = Math.max(1, Math.ceil(state.shown.length / size));
    state.page = Math.min(state.page, pages - 1);
    const part = state.shown.slice(state.page * size, (state.page + 1) * size);
    byId("count").textContent = `${state.shown.length} of ${data.rows.length} candidates`;
    byId("pages").hidden = pages === 1;
    byId("page-number").textContent = `page ${state.page + 1} of ${pages}`;
    byId("page-back").disabled = state.page === 0;
    byId("page-on").disabled = state.page === pages - 1;
    byId("cards").hidden = state.view !== "cards";
    byId("table-box").hidden = state.view !== "table";
    if (state.view === "cards") showCards(part); else showTable(part);
  }

  const CARD_LINES = ["space_group", "energy_above_hull", "formation_energy_per_atom", "band_gap", "computed_energy",
    "delta_bonds_percent", "volume_per_atom", "a", "novelty"];

  function card(index) {
    const row = data.rows[index];
    const made = element("button", { type: "button", class: "card", "data-index": index });
    if (row.g) made.append(element("canvas", { role: "img", "aria-label": `Unit cell of ${row.v.formula}` }));
    else made.append(element("span", { class: "none" }, "no crystal"));
    made.append(element("span", { class: "head" }, element("span", { class: "name" }, formula(row.v.formula)),
      element("span", { class: "no" }, (row.v.rank ? `rank ${row.v.rank}, ` : "") + `No. ${row.v.index}`)));
    made.append(element("span", { class: "badge" }, row.v.status));
    for (const key of CARD_LINES) {
      const column = columns.get(key);
      const text = column && written(column, row.v);
      if (text) made.append(element("span", { class: "line" }, element("span", {}, column.label), element("span", {}, withUnit(column, text))));
    }
    if (row.v.reason) made.append(element("span", { class: "why" }, row.v.reason));
    made.addEventListener("click", () => open(index));
    return made;
  }

  function showCards(part) {
    const cards = part.map(card);
    byId("cards").replaceChildren(...cards);
    cards.forEach((made, i) => { if (data.rows[part[i]].g) draw(made.querySelector("canvas"), data.rows[part[i]].g); });
  }

  function showTable(part) {
    const heads = data.columns.map((column) => {
      const sorted = state.sort === column.key;
      const arrow = sorted ? (state.descending ? " ▼" : " ▲") : "";
      const button = element("button", { type: "button", "data-key": column.key, title: column.help || column.label }, column.label + arrow);
      button.addEventListener("click", () => {
        sortBy(column.key, sorted ? !state.descending : false);
        byId("table").querySelector(`thead button[data-key="${CSS.escape(column.key)}"]`).focus();
      });
      const head = element("th", { scope: "col", "aria-sort": sorted ? (state.descending ? "descending" : "ascending") : "none",
        class: column.kind === "number" ? "" : column.kind === "formula" ? "text name" : "text" }, button);
      if (column.unit) head.append(element("span", { class: "unit" }, column.unit));
      return head;
    });
    byId("table").tHead.replaceChildren(element("tr", {}, ...heads));
    byId("table").tBodies[0].replaceChildren(...part.map((index) => {
      const row = data.rows[index];
      const line = element("tr", { "data-index": index }, ...data.columns.map((column) => {
        const text = written(column, row.v);
        if (column.key === "formula") {
          return element("td", { class: "text name" }, element("button", { type: "button", "aria-label": `Open ${named(row)}` }, formula(text)));
        }
        return element("td", { class: column.kind === "number" ? "" : text.length > 24 ? "long" : "text" }, text);
      }));
      line.addEventListener("click", () => open(index));
      return line;
    }));
  }

  function sortBy(key, descending) {
    state.sort = key;
    state.descending = descending;
    byId("sort").value = key;
    byId("descending").checked = descending;
    refresh();
  }

  function save(name, text, type) {
    const link = element("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  function tableText() {
    const keys = [...new Set(data.rows.flatMap((row) => Object.keys(row.v)))];
    // A leading sign would be a formula to a spreadsheet, so text that starts with one is set off by an apostrophe.
    const cell = (value) => {
      if (value === undefined || value === null) return "";
      const text = typeof value === "string" && /^[=+@\t\r-]/.test(value) ? `'${value}` : String(value);
      return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    return [keys, ...state.shown.map((index) => keys.map((key) => data.rows[index].v[key]))]
      .map((line) => line.map(cell).join(",")).join("\n") + "\n";
  }

  // ---- one candidate --------------------------------------------------------------------------------------------

  const detail = byId("detail");
  const scene = { viewer: null, failed: false, index: -1, relaxed: false, turning: false, symbols: false, view: { ...DEFAULT_VIEW }, url: "" };

  function open(index) {
    scene.index = index;
    scene.relaxed = false;
    const row = data.rows[index];
    byId("detail-title").replaceChildren(formula(row.v.formula), ` · No. ${row.v.index}`);
    byId("values").replaceChildren(...data.columns.filter((column) => written(column, row.v) && column.key !== "index")
      .flatMap((column) => [element("dt", {}, column.label), element("dd", {}, column.kind === "formula" ? formula(row.v[column.key]) : withUnit(column, written(column, row.v)))]));
    showBonds(row);
    showSlices(row);
    byId("which").hidden = !row.relaxed;
    if (!detail.open) detail.showModal();
    detail.scrollTop = 0;
    const place = state.shown.indexOf(index);
    byId("detail-back").disabled = place <= 0;
    byId("detail-on").disabled = place < 0 || place === state.shown.length - 1;
    history.replaceState(null, "", `#no-${row.v.index}`);
    resetView();
  }

  function step(by) {
    const next = state.shown[state.shown.indexOf(scene.index) + by];
    if (next !== undefined) open(next);
  }

  function showBonds(row) {
    byId("bonds").hidden = !(row.bonds && row.bonds.length);
    byId("bond-rows").replaceChildren(...(row.bonds || []).map(([name, count, before, after]) =>
      element("tr", {}, element("td", { class: "text" }, name), element("td", {}, String(count)),
        ...[before, after].map((value) => element("td", {}, number(value, 3))),
        element("td", {}, number((100 * (after - before)) / before, 2)))));
  }

  function showSlices(row) {
    const sprite = data.sprites[row.v.index];
    byId("slices").hidden = !sprite;
    if (!sprite) return;
    for (const name of ["density", "species"]) {
      const box = byId(`slice-${name}`);
      box.style.backgroundImage = `url("${sprite[name]}")`;
      box.style.backgroundSize = `100% ${100 * sprite.shape[2]}%`;
    }
    byId("slice").max = sprite.shape[2] - 1;
    byId("slice").value = sprite.plane;
    showPlane();
  }

  function showPlane() {
    const sprite = data.sprites[data.rows[scene.index].v.index];
    const plane = byId("slice").valueAsNumber;
    const [columns, rows, planes] = sprite.shape;
    byId("slice-number").textContent = `${plane + 1} of ${planes}`;
    const share = planes > 1 ? (100 * plane) / (planes - 1) : 0;
    for (const name of ["density", "species"]) byId(`slice-${name}`).style.backgroundPosition = `0 ${share}%`;
    const labels = sprite.labels[plane];
    byId("slice-species").replaceChildren(...labels.map(([symbol, x, y]) => {
      const made = element("b", {}, symbol);
      made.style.left = `${(100 * (x + 0.5)) / columns}%`;
      made.style.top = `${(100 * (y + 0.5)) / rows}%`;
      return made;
    }));
    const names = labels.map(([symbol]) => symbol).join(", ") || "no atoms";
    byId("slice-species").setAttribute("aria-label", `Species map, plane ${plane + 1}: ${names}`);
    byId("slice-density").setAttribute("aria-label", `Density, plane ${plane + 1}, from ${sprite.range[0]} to ${sprite.range[1]}`);
  }

  const current = () => { const row = data.rows[scene.index]; return scene.relaxed ? row.relaxed : row.g; };

  function showCrystal() {
    const row = data.rows[scene.index];
    const g = current();
    byId("before").setAttribute("aria-pressed", String(!scene.relaxed));
    byId("after").setAttribute("aria-pressed", String(scene.relaxed));
    byId("viewer").hidden = !g;
    byId("cif-box").hidden = !g;
    for (const name of ["turn", "symbols", "reset", "viewer-help", "legend"]) byId(name).hidden = !g;
    if (!g) return;
    byId("viewer").setAttribute("aria-label", `Unit cell of ${named(row)}`);
    byId("legend").replaceChildren(...[...new Set(g.z)].map((z) => {
      const chip = element("i");
      chip.style.background = data.elements[z].c;
      return element("li", {}, chip, `${data.elements[z].s} × ${g.z.filter((each) => each === z).length}`);
    }));
    const cif = scene.relaxed ? row.relaxed_cif : row.cif;
    byId("cif").textContent = cif;
    if (scene.url) URL.revokeObjectURL(scene.url);
    scene.url = URL.createObjectURL(new Blob([cif], { type: "chemical/x-cif" }));
    byId("cif-download").href = scene.url;
    byId("cif-download").download = `${String(row.v.index).padStart(5, "0")}_${row.v.formula.replace(/[^A-Za-z0-9().-]/g, "_")}${scene.relaxed ? "_relaxed" : ""}.cif`;
    if (ready()) showInViewer(g); else draw(byId("viewer-picture"), g, scene.view);
  }

  // The viewer starts with the first crystal that is opened, and serves all: browsers limit WebGL contexts.
  function ready() {
    if (scene.viewer || scene.failed) return !scene.failed;
    try {
      const probe = document.createElement("canvas");
      if (!(probe.getContext("webgl2") || probe.getContext("webgl"))) throw new Error("no WebGL");
      const box = element("div");
      box.style.cssText = "position:absolute;inset:0";
      byId("viewer").append(box);
      scene.viewer = $3Dmol.createViewer(box, { backgroundColor: shade("--panel"), antialias: true });
      if (!scene.viewer) throw new Error("no viewer");
      byId("viewer-picture").hidden = true;
    } catch (error) {
      scene.failed = true;
      byId("viewer").replaceChildren(byId("viewer-picture"));
      byId("viewer").dataset.fallback = "picture";
      byId("viewer-note").hidden = false;
      byId("viewer-note").textContent = "This browser has no WebGL: a flat picture stands in for the three-dimensional view. It turns as well.";
    }
    return !scene.failed;
  }

  const shade = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function showInViewer(g) {
    const viewer = scene.viewer;
    viewer.setBackgroundColor(shade("--panel"));
    const cell = expanded(g);
    viewer.removeAllModels();
    viewer.removeAllShapes();
    viewer.removeAllLabels();
    const vector = (p) => ({ x: p[0] - cell.centre[0], y: p[1] - cell.centre[1], z: p[2] - cell.centre[2] });
    const atoms = cell.atoms.map((atom, i) => ({ elem: data.elements[atom.z].s, serial: i, ...vector(atom.p), bonds: [], bondOrder: [] }));
    for (const [i, j] of cell.bonds) {
      atoms[i].bonds.push(j); atoms[i].bondOrder.push(1);
      atoms[j].bonds.push(i); atoms[j].bondOrder.push(1);
    }
    viewer.addModel().addAtoms(atoms);
    for (const z of new Set(g.z)) {
      const kind = data.elements[z];
      viewer.setStyle({ elem: kind.s }, { sphere: { radius: ballRadius(z), color: kind.c }, stick: { radius: 0.09, color: kind.c } });
    }
    for (const [a, b] of cell.edges) viewer.addLine({ start: vector(a), end: vector(b), color: shade("--faint") });
    if (scene.symbols) {
      for (const atom of atoms) {
        viewer.addLabel(atom.elem, { position: { x: atom.x, y: atom.y, z: atom.z }, fontSize: 13, fontColor: "black",
          backgroundColor: "white", backgroundOpacity: 0.65, inFront: true, alignment: "center" });
      }
    }
    viewer.resize();
    viewer.render();
  }

  function resetView() {
    scene.view = { ...DEFAULT_VIEW };
    turning(false);
    showCrystal();
    if (scene.viewer && current()) {
      scene.viewer.setView([0, 0, 0, 0, 0, 0, 0, 1]);
      scene.viewer.zoomTo();
      scene.viewer.rotate(-90, "vx"); // axis c up
      scene.viewer.rotate(24, "vy");
      scene.viewer.rotate(16, "vx");
      scene.viewer.zoom(0.9);
      scene.viewer.render();
    }
  }

  function turning(on) {
    const idle = !scene.turning;
    scene.turning = on;
    byId("turn").setAttribute("aria-pressed", String(on));
    if (on && idle) requestAnimationFrame(turnOn);
  }

  // One small step for each frame that was drawn, so that a slow machine turns slowly and stays at hand.
  function turnOn() {
    if (!scene.turning || !detail.open) return;
    turn(0.015, 0);
    requestAnimationFrame(turnOn);
  }

  // Angles in radians: about the vertical, and towards the eye.
  function turn(about, tilt) {
    if (scene.viewer) {
      if (about) scene.viewer.rotate((about * 180) / Math.PI, "vy");
      if (tilt) scene.viewer.rotate((tilt * 180) / Math.PI, "vx");
      return;
    }
    scene.view.turn += about;
    scene.view.tilt = Math.max(-1.5, Math.min(1.5, scene.view.tilt + tilt));
    draw(byId("viewer-picture"), current(), scene.view);
  }

  function zoom(by) {
    if (scene.viewer) { scene.viewer.zoom(by); return; }
    scene.view.zoom = Math.max(0.3, Math.min(5, scene.view.zoom * by));
    draw(byId("viewer-picture"), current(), scene.view);
  }

  const KEYS = { ArrowLeft: () => turn(-0.2, 0), ArrowRight: () => turn(0.2, 0), ArrowUp: () => turn(0, -0.2), ArrowDown: () => turn(0, 0.2),
    "+": () => zoom(1.15), "=": () => zoom(1.15), "-": () => zoom(1 / 1.15) };

  function listenToViewer() {
    const box = byId("viewer");
    box.addEventListener("keydown", (event) => {
      if (!KEYS[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      event.stopPropagation();
      KEYS[event.key]();
    });
    let from = null;
    const picture = byId("viewer-picture");
    picture.addEventListener("pointerdown", (event) => { from = [event.clientX, event.clientY]; picture.setPointerCapture(event.pointerId); });
    picture.addEventListener("pointermove", (event) => {
      if (!from) return;
      turn((event.clientX - from[0]) / 120, (event.clientY - from[1]) / 120);
      from = [event.clientX, event.clientY];
    });
    for (const name of ["pointerup", "pointercancel"]) picture.addEventListener(name, () => { from = null; });
    picture.addEventListener("wheel", (event) => { event.preventDefault(); zoom(event.deltaY < 0 ? 1.1 : 1 / 1.1); }, { passive: false });
  }

  function listenToDetail() {
    byId("detail-close").addEventListener("click", () => detail.close());
    byId("detail-back").addEventListener("click", () => step(-1));
    byId("detail-on").addEventListener("click", () => step(1));
    detail.addEventListener("click", (event) => { if (event.target === detail) detail.close(); });
    detail.addEventListener("close", () => { turning(false); history.replaceState(null, "", location.pathname + location.search); });
    detail.addEventListener("keydown", (event) => {
      if (["INPUT", "PRE"].includes(event.target.tagName) || event.altKey) return;
      if (event.key === "ArrowLeft") step(-1);
      if (event.key === "ArrowRight") step(1);
    });
    byId("turn").addEventListener("click", () => turning(!scene.turning));
    byId("reset").addEventListener("click", resetView);
    byId("symbols").addEventListener("click", () => {
      scene.symbols = !scene.symbols;
      byId("symbols").setAttribute("aria-pressed", String(scene.symbols));
      showCrystal();
    });
    byId("before").addEventListener("click", () => { scene.relaxed = false; showCrystal(); });
    byId("after").addEventListener("click", () => { scene.relaxed = true; showCrystal(); });
    byId("slice").addEventListener("input", showPlane);
    byId("cif-copy").addEventListener("click", copyCif);
  }

  async function copyCif() {
    const text = byId("cif").textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch (error) { // not allowed, as in some browsers for files: the old way
      const range = document.createRange();
      range.selectNodeContents(byId("cif"));
      getSelection().removeAllRanges();
      getSelection().addRange(range);
      document.execCommand("copy");
    }
    byId("cif-copy").textContent = "Copied";
    setTimeout(() => { byId("cif-copy").textContent = "Copy"; }, 1500);
  }

  function listenToControls() {
    byId("controls").hidden = false;
    byId("controls").addEventListener("submit", (event) => event.preventDefault());
    for (const name of ["search", "range-low", "range-high"]) byId(name).addEventListener("input", () => refresh());
    for (const name of ["status", "range-column"]) byId(name).addEventListener("change", () => refresh());
    byId("sort").addEventListener("change", () => sortBy(byId("sort").value, state.descending));
    byId("descending").addEventListener("change", () => sortBy(state.sort, byId("descending").checked));
    for (const view of ["cards", "table"]) {
      byId(`view-${view}`).addEventListener("click", () => {
        state.view = view;
        for (const other of ["cards", "table"]) byId(`view-${other}`).setAttribute("aria-pressed", String(other === view));
        refresh();
      });
    }
    byId("page-back").addEventListener("click", () => { state.page -= 1; show(); });
    byId("page-on").addEventListener("click", () => { state.page += 1; show(); });
    byId("download-table").addEventListener("click", () => save("candidates-shown.csv", tableText(), "text/csv"));
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { show(); if (detail.open) showCrystal(); });
  }

  function fillControls() {
    const option = (value, label) => element("option", { value }, label);
    const label = (column) => (column.unit ? `${column.label} (${column.unit})` : column.label);
    byId("sort").replaceChildren(...data.columns.map((column) => option(column.key, label(column))));
    const numbers = data.columns.filter((column) => column.kind === "number");
    byId("range-column").replaceChildren(...numbers.map((column) => option(column.key, label(column))));
    const counts = new Map();
    for (const row of data.rows) counts.set(row.v.status, (counts.get(row.v.status) || 0) + 1);
    byId("status").append(...[...counts].map(([status, count]) => option(status, `${status} (${count})`)));
    const first = ["energy_above_hull", "formation_energy_per_atom"].find((key) => columns.has(key));
    if (first) byId("range-column").value = first;
    sortBy(columns.has("rank") ? "rank" : first || "index", false);
  }

  listenToControls();
  listenToDetail();
  listenToViewer();
  fillControls();
  const asked = /^#no-(\d+)$/.exec(location.hash);
  const there = asked ? data.rows.findIndex((row) => row.v.index === Number(asked[1])) : -1;
  if (there >= 0) open(there);
})();
