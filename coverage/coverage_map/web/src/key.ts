// The API key of who asks: for this tab only, sent with planning questions and nothing else.
import { h } from "./dom";

const NAME = "wavecomb-key";

/** Headers of a question that may need a key. */
export function withKey(headers: Record<string, string>): Record<string, string> {
  const key = sessionStorage.getItem(NAME);
  return key ? { ...headers, "x-api-key": key } : headers;
}

/** A field for the key; `changed` is called once there is another one. */
export function keyField(open: boolean, changed: () => void): HTMLElement {
  const known = sessionStorage.getItem(NAME) !== null;
  const field = h("input", { id: "key", type: "password", autocomplete: "off", spellcheck: "false", "aria-describedby": "key-about", placeholder: known ? "one is kept for this tab" : "wcm_…" }) as HTMLInputElement;
  const keep = (event: Event): void => {
    event.preventDefault();
    const key = field.value.trim();
    if (!key) return field.focus();
    sessionStorage.setItem(NAME, key);
    changed();
  };
  const forget = (): void => {
    sessionStorage.removeItem(NAME);
    changed();
  };
  return h("details", { class: "apikey", open },
    h("summary", {}, known ? "API key in use" : "API key"),
    h("form", { submit: keep },
      h("label", { for: "key" }, "Key of this map’s operator"), field,
      h("p", { class: "quiet", id: "key-about" }, "Kept for this tab and forgotten when it closes. It goes to this server only."),
      h("button", { type: "submit", class: "plain" }, "Use it"),
      known && h("button", { type: "button", class: "plain", click: forget }, "Forget it")));
}
