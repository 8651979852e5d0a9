import { START_MS } from '../gateway/virtual-world.ts'
import { type Happening, type History, HOUR_MS } from './history.ts'
import type { SimulatedWorld } from './invariants/observed-world.ts'
import { createReferee, type Violation } from './referee.ts'
import { createSimulatedWorld } from './simulated-world.ts'

/** What one history came to. */
export interface Outcome {
  readonly history: History
  readonly violation: Violation | null
  readonly digest: string
  readonly trace: readonly string[]
  readonly hours: number
  readonly steps: number
  /** How often each thing happened. */
  readonly counts: Readonly<Record<string, number>>
}

/** After so long a pause every lease has ended, and every wait of a client is over. */
const REST_MS = 20 * 60_000

/** Runs a history to its end, or to the first thing that does not hold. */
export async function run(history: History): Promise<Outcome> {
  let world: SimulatedWorld | null = null
  const worldOf = () => {
    if (world === null) throw new Error('The world is not there yet')
    return world
  }
  const referee = createReferee(history, worldOf)
  world = createSimulatedWorld(history, referee)
  const { time } = world
  const bug = (error: unknown) => referee.bug(error)
  process.on('unhandledRejection', bug)
  const goTo = async (atMs: number) => {
    const until = START_MS + atMs
    const isOver = () => referee.violation() !== null
    await time.runWhile(() => !isOver(), until)
  }
  const rest = async (fromMs: number) => {
    await goTo(fromMs + REST_MS)
    if (referee.violation() === null) referee.atRest()
  }
  let lastMs = 0
  for (const happening of history.happenings) {
    if (referee.violation() !== null) break
    if (happening.atMs - lastMs > REST_MS) await rest(lastMs)
    await goTo(happening.atMs)
    if (referee.violation() !== null) break
    world.carryOut(happening)
    await time.drain()
    referee.afterEach()
    lastMs = happening.atMs
  }
  if (referee.violation() === null) await rest(lastMs)
  if (referee.violation() === null) await goTo(Math.max(history.hours * HOUR_MS, lastMs + REST_MS))
  process.off('unhandledRejection', bug)
  return {
    history,
    violation: referee.violation(),
    digest: referee.digest(),
    trace: [...referee.trace],
    hours: (time.nowMs() - START_MS) / HOUR_MS,
    steps: referee.steps(),
    counts: countsOf(world),
  }
}

function countsOf(world: SimulatedWorld): Readonly<Record<string, number>> {
  const { object } = world
  return {
    ...world.counts,
    ...world.openRouter.counts,
    ...Object.fromEntries(
      Object.entries(object.counts).map(([name, count]) => [`line: ${name}`, count]),
    ),
    'writes lost by a crash': object.losses(),
    'lives of the object': object.life,
    'rows written': object.rowsWritten(),
  }
}

/** A history without most of what does not matter for what it shows. */
export async function shrink(
  { history, violation }: Outcome,
  withinMs: number,
): Promise<Outcome | null> {
  const endMs = Date.now() + withinMs
  let shortest: Outcome | null = null
  let happenings: readonly Happening[] = history.happenings.filter(
    ({ atMs }) => violation === null || atMs <= violation.atMs - START_MS,
  )
  const attempt = async (fewer: readonly Happening[]): Promise<boolean> => {
    const outcome = await run({ ...history, happenings: fewer })
    if (outcome.violation === null || outcome.violation.invariant !== violation?.invariant)
      return false
    happenings = fewer
    shortest = outcome
    return true
  }
  for (let size = Math.ceil(happenings.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < happenings.length && Date.now() < endMs; ) {
      const fewer = [...happenings.slice(0, at), ...happenings.slice(at + size)]
      if (!(await attempt(fewer))) at += size
    }
  }
  return shortest
}
