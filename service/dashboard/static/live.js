// A job's page while it goes on: its events as they come, each once; the browser resumes by their numbers.
import { clock } from "./charts.js";

const STORY = ["queued", "running", "phase", "checkpoint", "lease_expired", "handed_back", "cancel_requested", "succeeded", "failed", "cancelled"];
const ENDS = ["succeeded", "failed", "cancelled"];

export function followJob(element, charts) {
  const epochs = new Map();
  const initial = charts.losses?.spec;
  initial?.x.forEach((epoch, i) => epochs.set(epoch, {
    epoch, train_loss: initial.series[0].values[i], val_loss: initial.series[1].values[i], learning_rate: charts.rates.spec.series[0].values[i],
  }));
  const events = new EventSource(`/jobs/${element.dataset.job}/events`);
  events.addEventListener("progress", (message) => showState(JSON.parse(message.data)));
  for (const name of STORY) {
    events.addEventListener(name, (message) => {
      const event = JSON.parse(message.data);
      if (event.epoch) {
        epochs.set(event.epoch.epoch, event.epoch);
        showEpochs([...epochs.values()].sort((one, other) => one.epoch - other.epoch), charts);
      }
      if (ENDS.includes(name)) {
        events.close();
        location.reload(); // the end has a result, pictures and other buttons
      }
    });
  }
  const log = document.querySelector("#log");
  if (log) followLog(element, log);
}

function followLog(element, log) {
  const lines = new EventSource(`/jobs/${element.dataset.job}/log?after=${element.dataset.lastLine}`);
  let first = element.dataset.lastLine === "0";
  lines.addEventListener("line", (message) => {
    const line = JSON.parse(message.data);
    if (first) log.textContent = "";
    first = false;
    log.append(`${line.created_at.slice(11, 19)} ${line.message}\n`);
    log.scrollTop = log.scrollHeight;
  });
}

function showState(job) {
  const badge = document.createElement("span");
  badge.className = `state ${job.state}`;
  badge.textContent = job.cancel_requested && job.state === "running" ? "stopping" : job.state;
  document.querySelector("#job-state").replaceChildren(badge);
  document.querySelector("#job-progress progress").value = job.progress;
  const phase = document.querySelector("#job-phase");
  if (phase) phase.textContent = job.phase ? doing(job.phase) : "";
  const epoch = document.querySelector("#job-epoch");
  if (epoch && job.epochs) epoch.textContent = `epoch ${job.epoch} of at most ${job.epochs}`;
  const attempt = document.querySelector("#job-attempt");
  if (attempt) attempt.textContent = job.attempt;
  const started = document.querySelector("#job-started");
  if (started && job.started_at) started.textContent = `${job.started_at.slice(0, 16).replace("T", " ")} UTC`;
  const eta = document.querySelector("#job-eta");
  if (eta) eta.textContent = job.eta_seconds === null ? "" : `about ${clock(job.eta_seconds)} left of it`;
}

function doing(phase) {
  return phase.total ? `${phase.name} ${Math.round(100 * phase.done / phase.total)} %` : phase.name;
}

function showEpochs(epochs, charts) {
  const x = epochs.map((each) => each.epoch);
  charts.losses?.show(x, [epochs.map((each) => each.train_loss), epochs.map((each) => each.val_loss)]);
  charts.rates?.show(x, [epochs.map((each) => each.learning_rate)]);
  const newest = epochs.at(-1);
  document.querySelector("#job-rate").textContent = newest.learning_rate;
  if (newest.trainable_parameters) document.querySelector("#job-parameters").textContent = newest.trainable_parameters.toLocaleString("en");
}
