import { parseArgs } from 'node:util'

export const PARTS = [
  ...(['requests', 'streams', 'memory', 'hostile', 'counts', 'start-up', 'shared'] as const),
] as const
export type PartName = (typeof PARTS)[number]

export const USAGE = `usage: npm run bench -- [options]

Measures the gateway, as it is deployed, beside a Worker that only forwards. Takes less than five
minutes; --only takes less.

  --only <parts>         some of ${PARTS.join(', ')}, separated by commas
  --quick                only to see that it works: its figures mean nothing
  --json <file>          writes all figures, each round's too
  --markdown <file>      puts the tables into a document, where it has places for them
  --profile <file>       writes a CPU profile of the gateway instead, and prints where time went;
                         of streams with --only streams
  --against <url>        measures another gateway too, like http://localhost:4000/v1
  --token <token>        what to send it as a bearer token
  --pid <pid>            its process, if that runs here and its CPU time is to be measured
  --upstream-port <port> where our upstream is to listen, so that it can be pointed there`

/** How much is measured, and where the figures go besides standard output. */
export interface OutputOptions {
  readonly quick: boolean
  readonly json: string | null
  readonly markdown: string | null
}

export interface BenchOptions extends OutputOptions {
  readonly parts: readonly PartName[]
  readonly profile: string | null
  readonly against: {
    readonly url: URL
    readonly token: string | undefined
    readonly pid: number | null
  } | null
  /** 0 for a free one. */
  readonly upstreamPort: number
}

const string = { type: 'string' } as const
const OUTPUT = {
  json: string,
  markdown: string,
  quick: { type: 'boolean', default: false },
} as const

/** @returns null where the arguments make no sense */
export function readOutputArguments(args: readonly string[]): OutputOptions | null {
  try {
    const { values } = parseArgs({ args: [...args], options: OUTPUT })
    const { quick, json = null, markdown = null } = values
    return { quick, json, markdown }
  } catch {
    return null
  }
}

/** @returns null where the arguments make no sense */
export function readArguments(args: readonly string[]): BenchOptions | null {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        ...OUTPUT,
        ...{ only: string, profile: string, 'upstream-port': string },
        ...{ against: string, token: string, pid: string },
      },
    })
    const parts = values.only === undefined ? PARTS : partsOf(values.only)
    const pid = wholeNumber(values.pid)
    const upstreamPort = wholeNumber(values['upstream-port']) ?? 0
    const against =
      values.against === undefined
        ? null
        : { url: plainUrl(values.against), token: values.token, pid }
    const { quick, json = null, markdown = null, profile = null } = values
    return { parts, quick, json, markdown, profile, against, upstreamPort }
  } catch {
    return null
  }
}

/** @throws for a name that is none of a part */
function partsOf(text: string): PartName[] {
  const names = text.split(',')
  if (!names.every((name) => PARTS.some((part) => part === name))) throw new Error(text)
  return PARTS.filter((part) => names.includes(part))
}

/** @throws for what is no whole number */
function wholeNumber(text: string | undefined): number | null {
  if (text === undefined) return null
  if (!/^\d+$/.test(text)) throw new Error(text)
  return Number(text)
}

/** The load is written on plain sockets. @throws for anything but http */
function plainUrl(text: string): URL {
  const url = new URL(text)
  if (url.protocol !== 'http:') throw new Error(text)
  return url
}
