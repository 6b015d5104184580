// Small helpers to build the page's elements; text is always set as text.

type Child = Node | string | null | undefined | false;
type Attributes = Record<string, string | number | boolean | ((event: Event) => void)>;

export function h(tag: string, attributes: Attributes = {}, ...children: Child[]): HTMLElement {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (typeof value === "boolean") element.toggleAttribute(name, value);
    else element.setAttribute(name, String(value));
  }
  for (const child of children) if (child) element.append(child);
  return element;
}

export function byId<T extends HTMLElement>(id: string): T {
  const element = document.getElementById(id);
  if (!element) throw new Error(`no element #${id}`);
  return element as T;
}

/** A command to take along: shown whole, copied by a button. */
export function copyable(command: string): HTMLElement {
  const said = h("span", { role: "status" });
  const copy = (): void => {
    const told = (words: string): void => {
      said.textContent = words;
      setTimeout(() => (said.textContent = ""), 4000);
    };
    if (navigator.clipboard) navigator.clipboard.writeText(command).then(() => told("Copied"), () => told("Select it and copy"));
    else told("Select it and copy");
  };
  return h("div", { class: "command" }, h("pre", { tabindex: 0, "aria-label": "Command" }, h("code", {}, command)), h("button", { type: "button", class: "plain", click: copy }, "Copy"), said);
}

export function text(id: string, value: string): void {
  const element = byId(id);
  if (element.textContent !== value) element.textContent = value;
}
