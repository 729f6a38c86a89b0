// Sends a file as it is, with progress, and goes on to its report.
export function startUpload(form) {
  const drop = form.querySelector(".drop");
  const chosen = form.elements.file;
  for (const name of ["dragover", "dragleave", "drop"]) {
    drop.addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragover");
      if (name === "drop" && event.dataTransfer.files.length) chosen.files = event.dataTransfer.files;
    });
  }
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (chosen.files.length > 1) form.querySelector(".said").textContent = "One file at a time: put them all into one zip file.";
    else send(form, chosen.files[0]);
  });
}

function send(form, file) {
  const bar = form.querySelector("progress");
  const said = form.querySelector(".said");
  const button = form.querySelector("button");
  const request = new XMLHttpRequest(); // fetch tells nothing of what has been sent
  const query = new URLSearchParams({ subject: form.elements.subject.value.trim(), name: file.name.slice(0, 200) });
  if (form.elements.sport.value) query.set("sport", form.elements.sport.value);
  request.open("POST", `/datasets?${query}`);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.upload.addEventListener("progress", (event) => {
    bar.value = event.loaded / event.total;
    said.textContent = `${Math.round(100 * bar.value)} % of ${(event.total / 1e6).toFixed(1)} MB`;
  });
  const failed = (sentence) => {
    said.textContent = sentence;
    button.disabled = false;
  };
  request.addEventListener("load", () => {
    const answer = JSON.parse(request.responseText);
    if (request.status === 202) location.assign(`/ui/datasets/${answer.id}`);
    else failed([answer.detail, ...answer.errors.map((error) => `${error.pointer}: ${error.message}`)].join(" "));
  });
  request.addEventListener("error", () => failed("Nothing was sent: the server does not answer, or this is a folder (put it into a zip file)."));
  bar.hidden = false;
  button.disabled = true;
  request.send(file);
}
