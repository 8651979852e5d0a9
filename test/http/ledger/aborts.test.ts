import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { findModel } from '../../simulator/models.ts'
import { REQUESTS, type ShapePath, SOUND, STREAMING } from '../../simulator/shape-requests.ts'
import {
  booked,
  charged,
  chargedToClients,
  createLedgerWorld,
  type LedgerWorld,
  pass,
} from './ledger-world.ts'

/**
 * A client leaves at every stage of an answer of every API shape. After five minutes the ledger says
 * what OpenRouter has charged, wherever its id was seen; elsewhere the estimate stays, and is marked.
 */

/** What is asked for, and how. */
interface Form {
  readonly path: ShapePath
  readonly kind: 'streamed' | 'whole' | 'form'
}

const WHOLE = Object.keys(REQUESTS).filter(
  (path): path is ShapePath => path !== '/messages/count_tokens',
)
const FORMS: readonly Form[] = [
  ...STREAMING.map((path) => ({ path, kind: 'streamed' }) as const),
  ...WHOLE.map((path) => ({ path, kind: 'whole' }) as const),
  { path: '/audio/transcriptions', kind: 'form' },
]

/** An answer has so many tokens, each in a chunk of its own. */
const ANSWER_TOKENS = 2
/** As many chunks as an answer of so few tokens has, and some more, which never come. */
const CHUNKS = { streamed: 16, whole: 2, form: 2 } as const

/** When upstream has sent headers and nothing else. */
const HEADERS_MS = 700
const FIRST_TOKEN_MS = 1_500

/** When a client leaves: after so many chunks, or earlier, or never. */
type Stage = number | 'at-once' | 'after-headers' | 'before-headers' | 'never'

const stagesOf = ({ kind }: Form): readonly Stage[] => [
  ...(['at-once', 'after-headers'] as const),
  ...Array.from({ length: CHUNKS[kind] }, (_, i) => i),
  'never',
]

const clientAt = ({ path, kind }: Form, stage: Stage) =>
  `${path.slice(1).replaceAll('/', '-')}-${kind}-${stage}`

const exact = (usd: number) => ({ usd, period: 'day', mode: 'exact' })

async function createWorld(): Promise<LedgerWorld> {
  const budget = [exact(100), { usd: 100, period: 'month', mode: 'capped' }]
  const names = FORMS.flatMap((form) =>
    [...stagesOf(form), 'before-headers' as const].map((stage) => clientAt(form, stage)),
  )
  const clients = names.map((id) => ({ id, group: 'team', budget }))
  const world = await createLedgerWorld({
    ...{ clients, groups: [{ id: 'team', budget: exact(10_000) }] },
    maxSpend: { usd: 10_000, period: 'total' },
  })
  await world.control.patchSettings({
    ...{ ttftMs: FIRST_TOKEN_MS, tokensPerSecond: 20, answerTokens: ANSWER_TOKENS },
    generationAfterMs: 30_000,
  })
  return world
}

function bodyOf({ path, kind }: Form): object {
  if (kind !== 'form')
    return { ...REQUESTS[path], ...(kind === 'streamed' ? { stream: true } : {}) }
  const body = new FormData()
  body.append('model', REQUESTS[path].model)
  body.append('file', SOUND, 'sound.wav')
  return body
}

let world: LedgerWorld
/** What those got who stayed, by client. */
const answers = new Map<string, string>()

beforeAll(async () => {
  vi.useFakeTimers({ toFake: ['Date', 'setTimeout', 'clearTimeout'] })
  vi.spyOn(console, 'log').mockImplementation(() => undefined)
  world = await createWorld()
  const send = (form: Form, stage: Stage) =>
    world.send(clientAt(form, stage), form.path, bodyOf(form), {
      ...(typeof stage === 'number' ? { leavesAfter: stage } : {}),
    })
  // These are the first, so that afterwards the prices are known.
  const stayed = FORMS.map((form) => ({ name: clientAt(form, 'never'), ...send(form, 'never') }))
  await world.untilOver()
  for (const { name, text } of stayed) answers.set(name, await text)
  const sent = FORMS.flatMap((form) =>
    stagesOf(form)
      .filter((stage) => stage !== 'never')
      .map((stage) => ({ stage, ...send(form, stage) })),
  )
  for (const { stage, leave } of sent) if (stage === 'at-once') leave()
  await pass(HEADERS_MS)
  for (const { stage, leave } of sent) if (stage === 'after-headers') leave()
  await world.untilOver()
  await world.minutes(5)
}, 60_000)
afterAll(() => void vi.useRealTimers())

const everything = async () => ({ books: await booked(world), paid: await charged(world) })

describe('five minutes after clients have left at every stage', () => {
  it('each key, account and model has what was charged, and nothing is an estimate or runs', async () => {
    const { books, paid } = await everything()
    const { byKey, byAccount, byModel } = paid
    expect(books).toMatchObject({ estimated: 0, live: 0, inFlight: 0 })
    expect(books).toMatchObject({ byKey, byAccount, byModel, keySpend: byKey })
    const spent = { spentNanos: paid.totalNanos, reservedNanos: 0, lostNanos: 0 }
    expect(books.budgets.team).toEqual([spent])
    expect(books.byGroup).toEqual({ team: paid.totalNanos })
  })

  it.each(FORMS)(
    '$path, $kind: each client has what it was charged, at each stage',
    async (form) => {
      const { books, paid } = await everything()
      const ofClients = chargedToClients(world, paid)
      for (const stage of stagesOf(form)) {
        const client = clientAt(form, stage)
        const nanos = ofClients[client] ?? 0
        const spent = { spentNanos: nanos, reservedNanos: 0, lostNanos: 0 }
        expect([client, books.budgets[client]]).toEqual([client, [spent, spent]])
        expect([client, books.byClient[client] ?? 0]).toEqual([client, nanos])
      }
      const stages = stagesOf(form).map((stage) => ofClients[clientAt(form, stage)] ?? 0)
      // Who leaves at once has not called; some have left in the middle, and who stays pays for all.
      expect([stages[0], stages.at(-1)]).toEqual([0, Math.max(...stages)])
      expect(Math.max(...stages)).toBeGreaterThan(0)
    },
  )

  it('a client that leaves before the headers keeps a marked estimate: its input at least', async ({
    annotate,
  }) => {
    const before = await booked(world)
    await world.control.rule({ fault: 'slow-headers', params: { ms: 5_000 } })
    const sent = FORMS.map((form) =>
      world.send(clientAt(form, 'before-headers'), form.path, bodyOf(form)),
    )
    await pass(HEADERS_MS)
    for (const { leave } of sent) leave()
    await world.untilOver()
    await world.minutes(5)
    const { books, paid } = await everything()
    expect(books).toMatchObject({ estimated: FORMS.length, live: 0, inFlight: 0 })
    const differences: string[] = []
    for (const form of FORMS) {
      const client = clientAt(form, 'before-headers')
      const [day, month] = books.budgets[client] ?? []
      expect([day, day?.reservedNanos, day?.lostNanos]).toEqual([month, 0, 0])
      const nanos = day?.spentNanos ?? 0
      const least = inputNanos(form)
      expect([client, nanos > 0 && nanos >= least]).toEqual([client, true])
      differences.push(`${client}: ${nanos} nano-dollars stay, ${least} for its input; 0 charged`)
    }
    await annotate(differences.join('\n'))
    const { byKey, byModel } = before
    expect([paid.byKey, paid.byModel]).toEqual([byKey, byModel])
  })
})

/** What the prompt of a form costs, by the answer that was whole. */
function inputNanos(form: Form): number {
  const text = answers.get(clientAt(form, 'never')) ?? ''
  const tokens = /"(?:prompt|input)_tokens":(\d+)/.exec(text)?.[1] ?? '0'
  const usd = findModel(REQUESTS[form.path].model)?.promptUsd ?? 0
  return Math.round(Number(tokens) * usd * 1e9)
}
