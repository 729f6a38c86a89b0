// A route or a distance, a pace or a cap -> the predicted heart rate, asked of the API.
import { clock } from "./charts.js";

const STEP_SECONDS = 10;
const EARTH = 6371008.8; // m, mean radius

export function startPlan(form, charts) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const said = form.querySelector(".said");
    const button = form.querySelector("button");
    button.disabled = true;
    said.textContent = "";
    try {
      const route = await readRoute(form);
      const planned = form.elements.mode.value === "cap" ? await underCap(form, route) : await atPace(form, route);
      show(planned, charts);
    } catch (error) {
      said.textContent = error.message;
    } finally {
      button.disabled = false;
    }
  });
}

async function readRoute(form) {
  const file = form.elements.route.files[0];
  if (file) return routeOf(await file.text());
  const metres = 1000 * Number(form.elements.distance.value);
  return { distance: [0, metres], altitude: [0, Number(form.elements.climb.value)] };
}

// Points of a GPX track or route: metres from the start, and altitude where every point has one.
export function routeOf(text) {
  const page = new DOMParser().parseFromString(text, "application/xml");
  const points = [...page.querySelectorAll("trkpt, rtept")];
  if (page.querySelector("parsererror") || points.length < 2) throw new Error("This file is no GPX route: it has no track or route points.");
  const distance = [];
  const altitude = [];
  let metres = 0;
  let before = null;
  for (const point of points) {
    const here = { lat: Number(point.getAttribute("lat")), lon: Number(point.getAttribute("lon")) };
    metres += before ? between(before, here) : 0;
    before = here;
    if (distance.length && metres <= distance.at(-1)) continue;
    const height = point.querySelector("ele");
    distance.push(metres);
    altitude.push(height ? Number(height.textContent) : null);
  }
  return { distance, altitude: altitude.includes(null) ? altitude.map(() => 0) : altitude };
}

function between(one, other) {
  const radians = Math.PI / 180;
  const across = Math.sin(((other.lat - one.lat) * radians) / 2) ** 2;
  const along = Math.sin(((other.lon - one.lon) * radians) / 2) ** 2;
  return 2 * EARTH * Math.asin(Math.sqrt(across + Math.cos(one.lat * radians) * Math.cos(other.lat * radians) * along));
}

async function atPace(form, route) {
  const [minutes, seconds] = form.elements.pace.value.split(":").map(Number);
  const speed = 1000 / (60 * minutes + seconds);
  if (!(speed > 0.3 && speed < 8)) throw new Error("The pace must be between 2:05 and 55:00 min/km.");
  const steps = Math.max(1, Math.round(route.distance.at(-1) / speed / STEP_SECONDS));
  const places = Array.from({ length: steps }, (_, i) => i * STEP_SECONDS * speed);
  const body = { subject: form.dataset.subject, speed: places.map(() => speed), altitude: places.map((metres) => at(route, metres)) };
  const answer = await ask("/predict", body);
  return { t: places.map((_, i) => i * STEP_SECONDS), speed: body.speed, seconds: steps * STEP_SECONDS, ...answer };
}

function at(route, metres) {
  const after = route.distance.findIndex((each) => each >= metres);
  if (after <= 0) return after < 0 ? route.altitude.at(-1) : route.altitude[0];
  const [from, to] = [route.distance[after - 1], route.distance[after]];
  return route.altitude[after - 1] + ((metres - from) / (to - from)) * (route.altitude[after] - route.altitude[after - 1]);
}

async function underCap(form, route) {
  return ask("/predict/plan", { subject: form.dataset.subject, ...route, heart_rate_cap: Number(form.elements.cap.value) });
}

async function ask(path, body) {
  const response = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
  const answer = await response.json();
  if (response.ok) return answer;
  throw new Error([answer.detail, ...answer.errors.map((error) => `${error.pointer} ${error.message}`)].join(" "));
}

function show(planned, charts) {
  document.querySelector("#planned").hidden = false;
  const mean = planned.heart_rate.reduce((sum, value) => sum + value, 0) / planned.heart_rate.length;
  const facts = {
    time: clock(planned.seconds),
    "mean heart rate": `${mean.toFixed(0)} bpm`,
    "highest heart rate": `${Math.max(...planned.heart_rate).toFixed(0)} bpm`,
    "predicted by": planned.model.stage.replace(/(\d)/, " $1"),
  };
  if (planned.feasible === false) facts["over the heart rate"] = `${clock(planned.over_cap_seconds)}, walking would not keep it`;
  document.querySelector("#planned .facts").replaceChildren(...Object.entries(facts).map(([name, value]) => fact(name, value)));
  charts["planned-heart"].show(planned.t, [planned.heart_rate, planned.upper, planned.lower]);
  charts["planned-speed"].show(planned.t, [planned.speed]);
  document.querySelector("#planned").scrollIntoView({ behavior: "smooth" });
}

function fact(name, value) {
  const [pair, term, said] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
  term.textContent = name;
  said.textContent = value;
  pair.append(term, said);
  return pair;
}
