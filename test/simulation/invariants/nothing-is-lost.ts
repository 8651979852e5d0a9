import type { PoolState } from '../../../src/balancing/pool-state.ts'
import type { ObjectStep } from '../pool-object.ts'
import type { Accuse, Watcher } from './invariant.ts'
import type { SimulatedWorld } from './observed-world.ts'

/** What lasts of a pool: until when each thing is out of use, by its name. */
type Lasting = ReadonlyMap<string, number>

interface Moment {
  readonly step: ObjectStep | null
  readonly lasting: Lasting
  readonly secrets: ReadonlyMap<string, string>
}

/** 9. What an answer went out for is known after any end of the object. */
export function nothingIsLost(accuse: Accuse, world: () => SimulatedWorld): Watcher {
  /** From the last step on whose answer has gone out. A crash may take back those that follow it. */
  let moments: Moment[] = []

  const compare = (
    state: PoolState,
    candidates: readonly Moment[],
    nowMs: number,
  ): string | null => {
    const secrets = secretsOf(state)
    const restored = atTime(lastingOf(state), nowMs)
    let wrong: string | null = null
    for (const { lasting, secrets: before } of candidates) {
      // What was known of another secret says nothing. It may have told which account other keys are of.
      const isSame =
        secrets.size === before.size &&
        [...secrets].every(([id, secret]) => before.get(id) === secret)
      wrong = difference(atTime(lasting, nowMs), restored, (what) => {
        const [kind, id = ''] = what.split(' ')
        return kind === 'account' ? !isSame : secrets.get(id) !== before.get(id)
      })
      if (wrong === null) return null
    }
    return wrong
  }

  return {
    born(state, life, how) {
      if (how !== null && moments.length > 0) {
        const { time } = world()
        const candidates = how === 'crash' ? moments : moments.slice(-1)
        const wrong = compare(state, candidates, time.nowMs())
        if (wrong !== null) accuse(9, `after a ${how}, in life ${life}: ${wrong}`)
      }
      moments = [{ step: null, lasting: lastingOf(state), secrets: secretsOf(state) }]
    },
    after(step) {
      if (step.kind === 'claim') return
      moments.push({ step, lasting: lastingOf(step.state), secrets: secretsOf(step.state) })
      if (moments.length > 400) moments = moments.slice(-200)
    },
    released(step) {
      const at = moments.findIndex((moment) => moment.step === step)
      if (at > 0) moments = moments.slice(at)
    },
  }
}

function lastingOf({ keys }: PoolState): Lasting {
  const lasting = new Map<string, number>()
  for (const { id, breaker, bench, account } of keys.values()) {
    if (breaker.kind === 'open') lasting.set(`breaker ${id}`, breaker.untilMs)
    if (bench !== null) lasting.set(`bench ${id}`, bench.untilMs ?? Infinity)
    if (account.bench !== null) lasting.set(`account ${id}`, account.bench.untilMs ?? Infinity)
  }
  return lasting
}

function secretsOf({ keys }: PoolState): ReadonlyMap<string, string> {
  return new Map([...keys.values()].map(({ id, config }) => [id, config.fingerprint]))
}

const atTime = (lasting: Lasting, nowMs: number): Lasting =>
  new Map([...lasting].filter(([, untilMs]) => nowMs < untilMs))

function difference(before: Lasting, after: Lasting, isOther: (what: string) => boolean) {
  for (const what of new Set([...before.keys(), ...after.keys()])) {
    if (before.get(what) === after.get(what) || isOther(what)) continue
    return `${what} was out until ${before.get(what)}, and is until ${after.get(what)}`
  }
  return null
}
