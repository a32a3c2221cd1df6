// Point at a network in a figure and see it; open a table and it is filled.
"use strict";
const { populations, points, error } = JSON.parse(document.getElementById("networks-data").textContent);
const tip = document.getElementById("tip");
const SVG = "http://www.w3.org/2000/svg";
const REACH = 14; // pixels around the pointer

const network = (population, row) => {
  const { columns, rows } = populations[population];
  return Object.fromEntries(columns.map((name, i) => [name, rows[row][i]]));
};

const stages = (one, letter) =>
  Object.keys(one).filter((name) => new RegExp(`^${letter}[1-9]\\d*$`).test(name))
    .map((name) => one[name]).filter((value) => value !== null);

function describe(population, row) {
  const one = network(population, row);
  const lines = [`${populations[population].name} #${one.ordinal}: ${one[error]}% error`];
  for (const letter of ["d", "w", "b", "g"]) {
    const values = stages(one, letter);
    if (values.length) lines.push(`${letter} ${values.join(", ")}`);
  }
  for (const name of ["w0", "wa", "wm", "flops", "params", "acts"])
    if (one[name] != null) lines.push(`${name} ${one[name].toLocaleString("en")}`);
  return lines.join("\n");
}

function widths(population, row) {
  const one = network(population, row);
  const [d, w] = [stages(one, "d"), stages(one, "w")];
  const blocks = d.flatMap((depth, i) => Array(depth).fill(w[i]));
  const picture = document.createElementNS(SVG, "svg");
  const most = Math.max(...blocks);
  picture.setAttribute("viewBox", `0 0 ${blocks.length} 1`);
  picture.setAttribute("preserveAspectRatio", "none");
  blocks.forEach((width, i) => {
    const bar = picture.appendChild(document.createElementNS(SVG, "rect"));
    const height = width / most;
    const box = { x: i + 0.08, y: 1 - height, width: 0.84, height, fill: "#0072B2" };
    for (const [key, value] of Object.entries(box)) bar.setAttribute(key, value);
  });
  return blocks.length && w.length === d.length ? picture : null;
}

function marks(drawing) {
  return [...drawing.querySelectorAll("g[id^='hover-']")].flatMap((group) => {
    const [population, rows] = points[group.id.slice("hover-".length)];
    return [...group.querySelectorAll("use")].map((use, i) =>
      ({ x: +use.getAttribute("x"), y: +use.getAttribute("y"), population, row: rows[i] }));
  });
}

function watch(drawing) {
  const found = marks(drawing);
  if (!found.length) return;
  const ring = drawing.appendChild(document.createElementNS(SVG, "circle"));
  ring.setAttribute("class", "ring");
  ring.setAttribute("r", 3.5);
  const hide = () => { tip.hidden = true; ring.setAttribute("visibility", "hidden"); };
  hide();
  drawing.addEventListener("pointerleave", hide);
  const show = (event) => {
    const matrix = drawing.getScreenCTM();
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
    const far = (one) => (one.x - at.x) ** 2 + (one.y - at.y) ** 2;
    const near = found.reduce((a, b) => (far(b) < far(a) ? b : a));
    if (far(near) * matrix.a ** 2 > REACH ** 2) return hide();
    ring.setAttribute("cx", near.x);
    ring.setAttribute("cy", near.y);
    ring.setAttribute("visibility", "visible");
    tip.textContent = describe(near.population, near.row);
    const picture = widths(near.population, near.row);
    if (picture) tip.append(picture);
    tip.hidden = false;
    const box = tip.getBoundingClientRect();
    const left = event.clientX + 14 + box.width > innerWidth ? event.clientX - 14 - box.width : event.clientX + 14;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${Math.max(4, Math.min(event.clientY + 14, innerHeight - box.height - 4))}px`;
  };
  drawing.addEventListener("pointermove", show);
  drawing.addEventListener("pointerdown", show);
}

function fill(details) {
  if (details.querySelector("table")) return;
  const { name, columns, rows } = populations[details.dataset.population];
  const quoted = (value) => (/[",\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value ?? "");
  const csv = [columns, ...rows].map((row) => row.map(quoted).join(",")).join("\n");
  const link = details.appendChild(document.createElement("a"));
  link.href = URL.createObjectURL(new Blob([csv + "\n"], { type: "text/csv" }));
  link.download = `${name.replace(/[^\w.]+/g, "-")}.csv`;
  link.textContent = "as CSV";
  const wide = details.appendChild(document.createElement("div"));
  wide.className = "wide";
  const table = wide.appendChild(document.createElement("table"));
  const head = table.createTHead().insertRow();
  for (const column of columns) head.appendChild(document.createElement("th")).textContent = column;
  const body = table.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    for (const value of row) line.insertCell().textContent = value ?? "";
  }
}

document.querySelectorAll(".drawing svg").forEach(watch);
document.querySelectorAll("details[data-population]").forEach((details) =>
  details.addEventListener("toggle", () => details.open && fill(details)));
