import { parseEnv } from 'node:util'

const QUOTES = ["'", '`', '"'] as const

/**
 * Writes variables so that wrangler (dotenv and dotenv-expand) reads back exactly these values.
 *
 * @throws for a value that the format cannot hold: one with all three kinds of quotes
 */
export function formatEnvFile(variables: Readonly<Record<string, string>>): string {
  return Object.entries(variables)
    .map(([name, value]) => `${name}=${quote(value)}\n`)
    .join('')
}

function quote(value: string): string {
  // In double quotes dotenv turns \n into a line break, so they only do for values without one.
  const usable = QUOTES.find(
    (mark) => !value.includes(mark) && !(mark === '"' && value.includes('\\')),
  )
  if (usable === undefined) throw new Error('a variable holds every kind of quote')
  // dotenv-expand replaces $NAME whatever the quotes; a backslash keeps the dollar.
  return `${usable}${value.replaceAll('$', '\\$')}${usable}`
}

/** Whether a `.dev.vars` file holds a key of OpenRouter under any of the names that may hold one. */
export function holdsOpenRouterKey(devVars: string): boolean {
  return Object.entries(parseEnv(devVars)).some(
    ([name, value]) =>
      name.startsWith('OPENROUTER_KEY') && value !== undefined && value.trim() !== '',
  )
}
