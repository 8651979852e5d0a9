import fc from 'fast-check'
import type { Connection } from './in-memory-pool.ts'
import { DONE, errorEventOf, PROCESSING, ROLE, STOP, said, USAGE } from './stream-texts.ts'
import { errorAnswer, jsonAnswer, openStream, type Script, streamOf } from './upstream-script.ts'

/** What may happen to one request. */
export interface JourneyPlan {
  /** How upstream answers, attempt by attempt. */
  readonly scripts: readonly Script[]
  /** How the pool object answers, exchange by exchange; after that it answers at once. */
  readonly connections: readonly Connection[]
  readonly leaving: Leaving | null
  readonly maxAttempts: number
  readonly seed: number
}

export interface Leaving {
  readonly afterMs: number
  readonly by: 'signal' | 'cancel' | 'both'
  readonly reads: 'along' | 'slow'
}

/** Text that names the attempt whose answer it is from. */
export function outputOf(attempt: number): string {
  return said(`output of ${attempt}`)
}

type Behaviour = (attempt: number) => Script

const EVENT_STREAM = { 'content-type': 'text/event-stream' }
const OVERLOADED = errorEventOf(503, 'Overloaded')

const goodStream = (attempt: number): Script =>
  streamOf(PROCESSING + ROLE, outputOf(attempt), outputOf(attempt) + STOP, USAGE, DONE)

const slowly = (script: Script, afterMs: number): Script => ({
  ...script,
  body: (script.body ?? []).map((step) => ({ ...step, afterMs })),
})

/** Every kind of failure that comes instead of an answer. */
const FAULTS: readonly Behaviour[] = [
  () => errorAnswer(400, 'Bad request'),
  () => errorAnswer(401, 'User not found.'),
  () => errorAnswer(402, 'Insufficient credits'),
  () => errorAnswer(403, 'Key limit exceeded'),
  () => errorAnswer(429, 'Rate limit exceeded'),
  () => errorAnswer(429, 'Limited', {}, { 'retry-after': '3' }),
  () => errorAnswer(502, 'Provider returned error', { provider_name: 'Vendor' }),
  () => errorAnswer(503, 'Overloaded'),
  () => errorAnswer(503, 'Overloaded', {}, { 'retry-after': '7' }),
  () => ({ ...errorAnswer(500, 'No'), end: 'hang' }),
  () => ({ status: 520, body: [{ text: '<html>' }] }),
  () => ({ connection: 'refused' }),
  () => ({ connection: 'hang' }),
]

/** The ways in which an answer that is not streamed may go. */
const WHOLES: readonly Behaviour[] = [
  (attempt) => jsonAnswer(200, { choices: [{ message: { content: `output of ${attempt}` } }] }),
  () => jsonAnswer(200, { choices: [{ message: { content: 'x' } }], usage: { cost: 1 } }),
  () => jsonAnswer(200, { error: { code: 502, message: 'No' } }),
  () => jsonAnswer(200, { choices: [{ error: { code: 402, message: 'No' } }] }),
  () => jsonAnswer(200, {}),
  () => ({ ...jsonAnswer(200, '{"choices":'), end: 'hang' }),
  () => ({ ...jsonAnswer(200, '{"choices":'), end: 'error', endAfterMs: 10 }),
]

/** The ways in which a stream may go. */
const STREAMS: readonly Behaviour[] = [
  goodStream,
  goodStream,
  goodStream,
  () => streamOf(DONE),
  () => streamOf(ROLE),
  () => ({ ...openStream(ROLE), end: 'error', endAfterMs: 10 }),
  () => openStream(PROCESSING, ROLE),
  () => streamOf(PROCESSING + OVERLOADED + DONE),
  () => streamOf(ROLE, errorEventOf(402, 'Insufficient credits')),
  () => openStream(OVERLOADED),
  (attempt) => streamOf(outputOf(attempt) + OVERLOADED + DONE),
  (attempt) => streamOf(outputOf(attempt), errorEventOf(401, 'User not found.')),
  (attempt) => streamOf(outputOf(attempt), 'data: {"cut'),
  (attempt) => ({ ...openStream(outputOf(attempt)), end: 'error', endAfterMs: 500 }),
  (attempt) => openStream(outputOf(attempt)),
  (attempt) => openStream(outputOf(attempt), STOP),
  (attempt) => ({
    headers: EVENT_STREAM,
    body: Array.from({ length: 100 }, () => ({ afterMs: 9_990, text: outputOf(attempt) })),
  }),
]

function scriptsOf(behaviours: readonly Behaviour[]): fc.Arbitrary<Script[]> {
  const attempt = fc.record({
    behaviour: fc.constantFrom(...behaviours),
    headersAfterMs: fc.constantFrom(0, 0, 50, 1_900, 29_000, 31_000),
    stepMs: fc.constantFrom(0, 0, 0, 700, 2_500, 59_000, 130_000),
  })
  return fc.array(attempt, { minLength: 8, maxLength: 8 }).map((attempts) =>
    attempts.map(({ behaviour, headersAfterMs, stepMs }, i) => {
      const script = { ...behaviour(i), headersAfterMs }
      return stepMs === 0 ? script : slowly(script, stepMs)
    }),
  )
}

const scripts = fc.oneof(
  { weight: 3, arbitrary: scriptsOf([...FAULTS, ...STREAMS]) },
  { weight: 1, arbitrary: scriptsOf([...FAULTS, ...WHOLES]) },
)

const connections: fc.Arbitrary<Connection[]> = fc.oneof(
  { weight: 2, arbitrary: fc.constant<Connection[]>([]) },
  {
    weight: 1,
    arbitrary: fc.array(
      fc.constantFrom<Connection[]>('answers', 'unreachable', 'answer_lost', 30, 1_999, 2_600),
      { maxLength: 8 },
    ),
  },
)

const leaving: fc.Arbitrary<Leaving | null> = fc.oneof(
  { weight: 2, arbitrary: fc.constant(null) },
  {
    weight: 1,
    arbitrary: fc.record<Leaving>({
      afterMs: fc.oneof(fc.nat(4_000), fc.nat(200_000)),
      by: fc.constantFrom('signal', 'cancel', 'both'),
      reads: fc.constantFrom('along', 'along', 'slow'),
    }),
  },
)

export const journeyArbitrary: fc.Arbitrary<JourneyPlan> = fc.record({
  scripts,
  connections,
  leaving,
  maxAttempts: fc.integer({ min: 1, max: 6 }),
  seed: fc.nat(),
})
