import { AFTER_OUTPUT, BEFORE_OUTPUT, type Expected, type FaultRow } from './fault-rows.ts'
import { PLATFORM_FAULTS } from './platform-rows.ts'

const PROSE = `# Faults

What the gateway makes of everything that can go wrong around it. Tests meet each row on purpose, through
the built Worker: for chat, completions, responses, messages and embeddings, whole and streamed. This
document is made from what they expect: \`npm test -- test/documents/faults.test.ts -u\` writes it again.

A good answer means that the client saw nothing of the fault: another key answered. Calls are those
that OpenRouter received, the good one too. The last column is what is left on the first key:
\`failure\` counts in its breaker's window, \`nothing\` counts nowhere, and any other word is one of the
[exclusions](how-it-decides.md#exclusions). In every case the lease is given back.
`

const cells = ({ client, calls, left }: Expected) => [client, `${calls}`, left]

const line = (texts: readonly string[]) => `| ${texts.join(' | ')} |`

function tableOf(heading: readonly string[], rows: readonly (readonly string[])[]): string {
  return [line(heading), line(heading.map(() => '---')), ...rows.map(line)].join('\n')
}

/** One line, or one for whole and one for streamed answers where they differ. */
function linesOf({ what, expected, whole, only }: FaultRow): string[][] {
  const form = only === undefined ? '' : ` (${only})`
  if (whole === undefined) return [[what + form, ...cells(expected)]]
  return [
    [`${what} (whole)`, ...cells(whole)],
    [`${what} (streamed)`, ...cells(expected)],
  ]
}

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
    'The client, the pool’s object, and the KV namespace.\n',
    `${tableOf(
      ['around it', 'what happens'],
      PLATFORM_FAULTS.map(({ what, happens }) => [what, happens]),
    )}\n`,
  ].join('\n')
}
