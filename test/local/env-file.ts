import { parseEnv } from 'node:util'

const QUOTES = ["'", '`', '"'] as const

/**
 * Writes variables in a form from which wrangler (dotenv and dotenv-expand) reads the same values.
 *
 * @throws if the format cannot hold a value, for example one with all three kinds of quotes
 */
export function formatEnvFile(variables: Readonly<Record<string, string>>): string {
  return Object.entries(variables)
    .map(([name, value]) => `${name}=${quote(value)}\n`)
    .join('')
}

function quote(value: string): string {
  // In double quotes dotenv turns \n into a line break. A value with a backslash cannot use them.
  const usable = QUOTES.find(
    (mark) => !value.includes(mark) && !(mark === '"' && value.includes('\\')),
  )
  if (usable === undefined) throw new Error('a variable holds every kind of quote')
  // dotenv-expand replaces $NAME inside all kinds of quotes. A backslash keeps the dollar sign.
  return `${usable}${value.replaceAll('$', '\\$')}${usable}`
}

/** Whether a `.dev.vars` file has a value for any name that may hold a key of OpenRouter. */
export function holdsOpenRouterKey(devVars: string): boolean {
  return Object.entries(parseEnv(devVars)).some(
    ([name, value]) =>
      name.startsWith('OPENROUTER_KEY') && value !== undefined && value.trim() !== '',
  )
}
