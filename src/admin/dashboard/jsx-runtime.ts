import { html, raw } from 'hono/html'
import type { HtmlEscapedString } from 'hono/utils/html'

/**
 * What JSX compiles to: pages as text, escaped by Hono's `html`. Hono's own runtime also keeps contexts,
 * streams, hoists what belongs into the head and renders in browsers, which no page here needs; it is eight
 * times as large, and the Worker's size is part of every cold start. Its types are used.
 */
export type { JSX } from 'hono/jsx/jsx-runtime'

type Html = ReturnType<typeof html>
type Properties = Readonly<Record<string, unknown>>

/** https://html.spec.whatwg.org/#void-elements: those that the pages use. */
const WITHOUT_END: ReadonlySet<string> = new Set(['br', 'input', 'link', 'meta'])

/**
 * Makes an element. Its name and those of its attributes stand in the source; values and children may come
 * from anywhere, and are escaped.
 */
export function jsx(
  tag: string | ((properties: Properties) => Html),
  properties: Properties,
): Html {
  if (typeof tag === 'function') return tag(properties)
  const { children, ...attributes } = properties
  const opening = html`${raw(`<${tag}`)}${Object.entries(attributes).map(attribute)}>`
  return WITHOUT_END.has(tag) ? opening : html`${opening}${children}${raw(`</${tag}>`)}`
}

/** An attribute that is `true` is there, and one that is false or missing is not. Of `aria-` none is such. */
function attribute([name, value]: [string, unknown]): Html | HtmlEscapedString | null {
  if (value === undefined || value === null || value === false) return null
  return html` ${raw(name)}="${value === true ? '' : value}"`
}

export function Fragment({ children }: Properties): Html {
  return html`${children}`
}

/** Whether there is one child or several makes no difference, nor does it for tests, which Vite compiles. */
export { jsx as jsxDEV, jsx as jsxs }
