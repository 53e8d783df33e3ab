/** HTML that is escaped by construction: what a template inserts is text unless another template made it. */

/** A piece of a page that is safe to insert as it is. */
export class Markup {
  constructor(readonly text: string) {}
}

/** null and undefined insert nothing: what was not measured is absent from the page. */
export type Insertable = Markup | string | number | null | undefined | readonly Insertable[];

const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
/** Characters that no HTML text may hold, and those that make a name read as another by reversing the text after them. */
const unprintable = /(?![\t\n\r])\p{Cc}|\p{Surrogate}|\p{Noncharacter_Code_Point}|\p{Bidi_Control}/gu;

/** Text for an element or a quoted attribute. Names come from uploaded models: anything may stand in them. */
export function escapeText(text: string): string {
  return text.replace(unprintable, '\ufffd').replace(/[&<>"']/g, (character) => entities[character] ?? '');
}

function insert(value: Insertable): string {
  if (value === null || value === undefined) return '';
  if (value instanceof Markup) return value.text;
  if (typeof value === 'string' || typeof value === 'number') return escapeText(String(value));
  return value.map(insert).join('');
}

/** html`<b>${text}</b>`: everything inserted is escaped unless it is Markup. Insert only between tags and inside double quotes. */
export function html(strings: TemplateStringsArray, ...values: readonly Insertable[]): Markup {
  return new Markup(strings.map((string, index) => string + insert(values[index])).join(''));
}

const NAME_LENGTH = 120;

/** A name of the model in a line of its own; a name of a megabyte keeps its beginning and its end. */
export function shortName(name: string, length = NAME_LENGTH): string {
  if (name.length <= length) return name;
  const half = Math.floor((length - 1) / 2);
  return `${name.slice(0, half)}…${name.slice(-half)}`;
}
