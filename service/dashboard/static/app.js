// Starts what a page has: charts, a job that is followed live, an upload, a plan.
import { startCharts } from "./charts.js";
import { followJob } from "./live.js";
import { startPlan } from "./plan.js";
import { startUpload } from "./upload.js";

const charts = startCharts();
const job = document.querySelector("#job[data-live]");
if (job) followJob(job, charts);
const upload = document.querySelector("#upload");
if (upload) startUpload(upload);
const plan = document.querySelector("#plan");
if (plan) startPlan(plan, charts);
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", () => setTimeout(() => form.querySelectorAll("button").forEach((button) => { button.disabled = true; })));
}
