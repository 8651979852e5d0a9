import { AFTER_OUTPUT, BEFORE_OUTPUT, type Expected, type FaultRow } from './fault-rows.ts'
import { LEAVERS, PLATFORM_FAULTS } from './platform-rows.ts'

const PROSE = `# Faults

What the gateway makes of everything that can go wrong around it. Tests meet each row on purpose: those
of upstream through the built Worker, for chat, completions, responses, messages and embeddings, whole
and streamed (embeddings are whole only). This document is made from what they expect:
\`npm test -- test/documents/faults.test.ts -u\` writes it again.

A good answer means that the client saw nothing of the fault: another key answered. Calls are those
that OpenRouter received, the good one too. The last column is what is left on the first key:
\`failure\` counts in its breaker's window, \`nothing\` counts nowhere, and any other word is one of the
[exclusions](how-it-decides.md#exclusions). In every case the lease is given back.

Errors of \`/responses\` in a 200 have no status, no provider’s name and no reset: their \`error_type\` says
whose fault they are. So a provider’s error counts there as that of a model that is down (row 16), and a
key that was asked too often rests for about a second.
`

const cells = ({ client, calls, left }: Expected) => [client, `${calls}`, left]

const line = (texts: readonly string[]) => `| ${texts.join(' | ')} |`

/** Its columns are as wide as their widest cells, as the formatter wants them. */
function tableOf(heading: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = heading.map((_, column) =>
    Math.max(...[heading, ...rows].map((texts) => texts[column]?.length ?? 0)),
  )
  const padded = (texts: readonly string[]) =>
    line(texts.map((text, column) => text.padEnd(widths[column] ?? 0)))
  const rule = line(widths.map((width) => '-'.repeat(width)))
  return [padded(heading), rule, ...rows.map(padded)].join('\n')
}

/** One line, or one for whole and one for streamed answers where they differ. */
function linesOf({ what, expected, whole, responses, only }: FaultRow): string[][] {
  const form = only === undefined ? '' : ` (${only})`
  if (responses !== undefined) {
    return [
      [what + form, ...cells(expected)],
      [`${what} (responses)`, ...cells(responses)],
    ]
  }
  if (whole === undefined) return [[what + form, ...cells(expected)]]
  return [
    [`${what} (whole)`, ...cells(whole)],
    [`${what} (streamed)`, ...cells(expected)],
  ]
}

const nameOf = (path: string) => path.split('/').pop() ?? ''

const LEAVERS_PROSE = `The local runtime tells a Worker of it only when it writes. So most of these rows are met
in front of a scripted upstream, on a virtual clock, and not through the built Worker.`

const COLUMNS = ['what the client sees', 'calls', 'left']

/** The text of `docs/faults.md`. */
export function faultDocument(): string {
  return [
    PROSE,
    '## Before the first output\n',
    `${tableOf(['before it', ...COLUMNS], BEFORE_OUTPUT.flatMap(linesOf))}\n`,
    '## After the first output\n',
    'Only streams can fail there, and nothing is tried again.\n',
    `${tableOf(['after it', ...COLUMNS], AFTER_OUTPUT.flatMap(linesOf))}\n`,
    '## Around the gateway\n',
    'The pool’s object, the KV namespace, and a slow client.\n',
    `${tableOf(
      ['around it', 'what happens'],
      PLATFORM_FAULTS.map(({ what, happens }) => [what, happens]),
    )}\n`,
    '## The client leaves\n',
    `${LEAVERS_PROSE}\n`,
    `${tableOf(
      ['when', 'what happens', 'test'],
      LEAVERS.map(({ when, happens, test: [path] }) => [
        when,
        happens,
        `[${nameOf(path)}](../${path})`,
      ]),
    )}\n`,
  ].join('\n')
}
