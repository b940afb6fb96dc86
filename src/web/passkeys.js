// Passkeys: the browser asks its person, the authenticator signs, and the server says what counts. What cannot be done here the page says
// how to do at the terminal.
(() => {
  "use strict";
  const key = window.PublicKeyCredential;
  const isAble = window.isSecureContext && key?.parseCreationOptionsFromJSON && key.parseRequestOptionsFromJSON && key.prototype.toJSON;
  const post = async (address, fields) => {
    const answer = await fetch(address, { method: "POST", body: fields, credentials: "same-origin" });
    if (answer.ok) return answer;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const words = [...page.querySelectorAll("main p")].map((one) => one.textContent.trim()).filter(Boolean).join(" ");
    throw new Error(words || `The server answers ${answer.status}. Load the page again.`);
  };
  const words = (error) => ({
    NotAllowedError: "Nothing was signed: the browser's question was closed, took too long, or no passkey of this site is there.",
    InvalidStateError: "This authenticator has a passkey of yours already. Take another one.",
    TypeError: "The server does not answer, or the browser does not know this kind of passkey. Load the page again.",
  })[error.name] ?? error.message;
  const ask = ({ options }, makes) => makes
    ? navigator.credentials.create({ publicKey: key.parseCreationOptionsFromJSON(options) })
    : navigator.credentials.get({ publicKey: key.parseRequestOptionsFromJSON(options) });

  for (const form of document.querySelectorAll("form[data-passkey]")) {
    const says = form.querySelector("[role=status]"), buttons = [...form.querySelectorAll("button")];
    form.hidden = false;
    if (!isAble) {
      for (const button of buttons) button.disabled = true;
      says.textContent = "This browser cannot use passkeys here: it is too old, or the page is not at http://localhost.";
      continue;
    }
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const fields = new URLSearchParams(new FormData(form, event.submitter));
      for (const button of buttons) button.disabled = true;
      says.className = "quiet";
      says.textContent = "Your browser asks for your passkey …";
      try {
        const begun = await (await post(form.action, fields)).json();
        const signed = await ask(begun, form.dataset.passkey === "make");
        fields.set("handle", begun.handle);
        fields.set("answer", JSON.stringify(signed));
        says.textContent = "Signed. The server checks it …";
        const answer = await post(`${form.action}/answer`, fields);
        if (answer.redirected) return location.assign(answer.url);
        const made = new DOMParser().parseFromString(await answer.text(), "text/html").querySelector("main");
        document.querySelector("main").replaceWith(made);
        made.focus();
      } catch (error) {
        says.className = "bad";
        says.textContent = words(error);
        for (const button of buttons) button.disabled = false;
      }
    });
  }
})();
