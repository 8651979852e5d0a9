/** Shows the gateway's own OpenAPI document, which lies beside this script, for reading. */

function operationsOf({ paths }) {
  return Object.entries(paths).flatMap(([path, methods]) =>
    Object.entries(methods)
      .filter(([method]) => method !== 'parameters')
      .map(([method, operation]) => ({ method: method.toUpperCase(), path, ...operation })),
  )
}

function section({ method, path, summary, parameters = [], requestBody, responses }, api) {
  return element('details', [
    element('summary', [
      element('b', [method]),
      ' ',
      element('code', [path]),
      ' ',
      ...words(summary),
    ]),
    ...(parameters.length === 0
      ? []
      : [
          element('h3', ['Parameters']),
          element(
            'ul',
            parameters.map((each) => parameter(each, api)),
          ),
        ]),
    ...(requestBody === undefined
      ? []
      : [element('h3', ['Body']), schema(jsonSchemaOf(requestBody), api)]),
    element('h3', ['Answers']),
    ...Object.entries(responses).map(([status, answer]) =>
      answerOf(status, resolve(answer, api), api),
    ),
  ])
}

function parameter(given, api) {
  const { name, in: where, description = '', required } = resolve(given, api)
  return element('li', [
    element('code', [name]),
    ` in the ${where}${required ? ', required' : ''}. `,
    ...words(description),
  ])
}

function answerOf(status, answer, api) {
  const given = jsonSchemaOf(answer)
  const title = element('summary', [element('b', [status]), ' ', ...words(answer.description)])
  return given === undefined
    ? element('p', [...title.childNodes])
    : element('details', [title, schema(given, api)])
}

const jsonSchemaOf = ({ content }) => content?.['application/json']?.schema

function schema(given, api) {
  return element('pre', [JSON.stringify(inlined(given, api, 0), null, 2)], { tabIndex: 0 })
}

/** A schema with what it refers to in its place, three deep: a reader wants fields, not names. */
function inlined(given, api, depth) {
  if (Array.isArray(given)) return given.map((each) => inlined(each, api, depth))
  if (typeof given !== 'object' || given === null) return given
  if (given.$ref !== undefined) {
    return depth >= 3 ? given.$ref : inlined(resolve(given, api), api, depth + 1)
  }
  return Object.fromEntries(
    Object.entries(given).map(([name, value]) => [name, inlined(value, api, depth)]),
  )
}

function resolve(given, api) {
  if (given.$ref === undefined) return given
  return given.$ref
    .slice(2)
    .split('/')
    .reduce((at, name) => at?.[name], api)
}

/** A text of the document, in which code stands between marks. */
const words = (text) =>
  text.split('`').map((part, at) => (at % 2 === 1 ? element('code', [part]) : part))

/** Texts become text nodes: nothing of the document is taken for HTML. */
function element(name, children, properties = {}) {
  const made = Object.assign(document.createElement(name), properties)
  made.append(...children)
  return made
}

const place = document.querySelector('#api')
const response = await fetch('/admin/assets/openapi.json')
if (response.ok) {
  const api = await response.json()
  place.replaceChildren(...operationsOf(api).map((operation) => section(operation, api)))
  // The browser has looked for the fragment before it was there.
  if (location.hash !== '') document.getElementById(location.hash.slice(1))?.scrollIntoView()
} else {
  place.textContent = 'The document could not be loaded.'
}
