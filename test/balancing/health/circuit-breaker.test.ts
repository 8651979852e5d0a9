import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  afterFailure,
  afterNothing,
  afterSuccess,
  asOf,
  type Breaker,
  type BreakerPolicy,
  beginProbe,
  CLOSED,
  withoutFailures,
} from '../../../src/balancing/health/circuit-breaker.ts'
import { type LeaseId, leaseId } from '../../../src/balancing/ids.ts'

const POLICY: BreakerPolicy = {
  failures: 3,
  windowMs: 60_000,
  cooldownMs: 60_000,
  maxCooldownMs: 900_000,
}
const PROBE = leaseId('probe')
const STALE = leaseId('from before it opened')
const T = 1_000_000

function failures(atMs: readonly number[], policy = POLICY, from: Breaker = CLOSED): Breaker {
  return atMs.reduce<Breaker>(
    (breaker, ms, i) =>
      afterFailure(asOf(breaker, ms), { leaseId: leaseId(`f${i}`), panic: false }, ms, policy),
    from,
  )
}

const opened = failures([T, T, T])

/** Every event that can change a breaker, by name. */
const AFTER = {
  success: (breaker: Breaker, lease: LeaseId, nowMs: number) => afterSuccess(breaker, lease, nowMs),
  failure: (breaker: Breaker, lease: LeaseId, nowMs: number, policy: BreakerPolicy) =>
    afterFailure(breaker, { leaseId: lease, panic: false }, nowMs, policy),
  'failure in panic': (breaker: Breaker, lease: LeaseId, nowMs: number, policy: BreakerPolicy) =>
    afterFailure(breaker, { leaseId: lease, panic: true }, nowMs, policy),
  nothing: (breaker: Breaker, lease: LeaseId) => afterNothing(breaker, lease),
  probe: (breaker: Breaker, lease: LeaseId) => beginProbe(breaker, lease),
} as const

/** Half-open after its first cooldown, with `PROBE` as its probe. */
const probing = beginProbe(asOf(opened, T + 60_000), PROBE)

describe('a closed breaker', () => {
  it.each([
    { name: 'two failures', atMs: [0, 1], kind: 'closed' },
    { name: 'three at once', atMs: [0, 0, 0], kind: 'open' },
    { name: 'three just within the window', atMs: [0, 1, 59_999], kind: 'open' },
    {
      name: 'three of which the first is a whole window old',
      atMs: [0, 1, 60_000],
      kind: 'closed',
    },
    { name: 'three, one a minute', atMs: [0, 60_000, 120_000], kind: 'closed' },
    { name: 'two, ten idle minutes, two more', atMs: [0, 1, 600_000, 600_001], kind: 'closed' },
    { name: 'a slow start and a fast end', atMs: [0, 50_000, 70_000, 71_000], kind: 'open' },
  ])('after $name is $kind', ({ atMs, kind }) => {
    expect(failures(atMs.map((ms) => T + ms)).kind).toBe(kind)
  })

  it('opens exactly when the last window holds enough failures, however many calls succeed', () => {
    const anyCalls = fc.array(
      fc.record({
        afterMs: fc.nat({ max: 40_000 }),
        what: fc.constantFrom('success', 'failure', 'nothing'),
      }),
      { maxLength: 60 },
    )
    fc.assert(
      fc.property(anyCalls, fc.integer({ min: 1, max: 6 }), (calls, limit) => {
        const policy = { ...POLICY, failures: limit }
        let breaker = CLOSED
        let nowMs = T
        const failedAtMs: number[] = []
        for (const { afterMs, what } of calls) {
          nowMs += afterMs
          breaker = AFTER[what](asOf(breaker, nowMs), STALE, nowMs, policy)
          if (what === 'failure') failedAtMs.push(nowMs)
          const recent = failedAtMs.filter((ms) => nowMs - ms < policy.windowMs)
          const kind = recent.length < limit ? 'closed' : 'open'
          expect(breaker.kind).toBe(kind)
          if (kind === 'open') return
        }
      }),
    )
  })

  it('opens at the first failure where the policy says one', () => {
    expect(failures([T], { ...POLICY, failures: 1 }).kind).toBe('open')
  })

  it('is moved neither by a success nor by what proves nothing', () => {
    const wavering = failures([T, T + 1])
    expect(afterSuccess(wavering, STALE, T + 2)).toEqual(wavering)
    expect(afterNothing(wavering, STALE)).toEqual(wavering)
    expect(beginProbe(wavering, STALE)).toEqual(wavering)
  })
})

describe('an open breaker', () => {
  it('turns half-open at the end of its cooldown, when somebody asks, and not a moment before', () => {
    expect(asOf(opened, T + 59_999).kind).toBe('open')
    expect(asOf(opened, T + 60_000)).toEqual({ kind: 'half_open', probe: null, cooldownMs: 60_000 })
    expect(asOf(opened, T + 10 ** 9).kind).toBe('half_open')
  })

  it('takes no probe and learns nothing from calls that began before it opened', () => {
    expect(beginProbe(opened, PROBE)).toEqual(opened)
    expect(afterSuccess(opened, STALE, T + 1)).toEqual(opened)
    expect(afterFailure(opened, { leaseId: STALE, panic: false }, T + 1, POLICY)).toEqual(opened)
    expect(afterNothing(opened, STALE)).toEqual(opened)
  })

  it('never cools down for longer than the maximum, not even the first time', () => {
    expect(failures([T, T, T], { ...POLICY, maxCooldownMs: 5_000 })).toMatchObject({
      kind: 'open',
      untilMs: T + 5_000,
      cooldownMs: 5_000,
    })
  })
})

describe('a half-open breaker', () => {
  const late = T + 61_000

  it('lets one probe through at a time', () => {
    expect(beginProbe(probing, leaseId('second'))).toEqual(probing)
  })

  it('closes at the success of its probe and forgets the failures that opened it', () => {
    const closed = afterSuccess(probing, PROBE, late)
    expect(closed).toEqual({ kind: 'closed', failuresAtMs: [], recoveredAtMs: late })
    expect(failures([late, late], POLICY, closed).kind).toBe('closed')
    expect(failures([late, late, late], POLICY, closed).kind).toBe('open')
  })

  it('opens for twice as long at the failure of its probe', () => {
    expect(afterFailure(probing, { leaseId: PROBE, panic: false }, late, POLICY)).toMatchObject({
      kind: 'open',
      untilMs: late + 120_000,
      cooldownMs: 120_000,
    })
  })

  it('doubles with every failed probe, up to the maximum, and starts anew once closed', () => {
    let breaker = opened
    const cooldowns: number[] = []
    for (let round = 0; round < 6; round++) {
      if (breaker.kind !== 'open') throw new Error('a failed probe opens the breaker')
      cooldowns.push(breaker.cooldownMs)
      const { untilMs } = breaker
      breaker = beginProbe(asOf(breaker, untilMs), PROBE)
      breaker = afterFailure(breaker, { leaseId: PROBE, panic: false }, untilMs, POLICY)
    }
    expect(cooldowns).toEqual([60_000, 120_000, 240_000, 480_000, 900_000, 900_000])
    const reopenedAtMs = 10 ** 8
    const closed = afterSuccess(beginProbe(asOf(breaker, reopenedAtMs), PROBE), PROBE, reopenedAtMs)
    expect(failures([reopenedAtMs, reopenedAtMs, reopenedAtMs], POLICY, closed)).toMatchObject({
      kind: 'open',
      cooldownMs: 60_000,
    })
  })

  it('is lengthened by no probe that went out in panic', () => {
    expect(afterFailure(probing, { leaseId: PROBE, panic: true }, late, POLICY)).toMatchObject({
      kind: 'open',
      untilMs: late + 60_000,
      cooldownMs: 60_000,
    })
  })

  it('gives the slot of a probe that proved nothing to the next', () => {
    const free = afterNothing(probing, PROBE)
    expect(free).toMatchObject({ kind: 'half_open', probe: null, cooldownMs: 60_000 })
    expect(beginProbe(free, leaseId('second'))).toMatchObject({ probe: 'second' })
  })

  it('learns nothing from any call but its probe', () => {
    for (const breaker of [probing, afterNothing(probing, PROBE)]) {
      expect(afterSuccess(breaker, STALE, late)).toEqual(breaker)
      expect(afterFailure(breaker, { leaseId: STALE, panic: false }, late, POLICY)).toEqual(breaker)
      expect(afterNothing(breaker, STALE)).toEqual(breaker)
    }
  })
})

it('can always close again, whatever happened to it', () => {
  const anyEvents = fc.array(
    fc.record({
      afterMs: fc.nat({ max: 200_000 }),
      what: fc.constantFrom('success', 'failure', 'failure in panic', 'nothing', 'probe'),
      lease: fc.constantFrom('a', 'b', 'c').map(leaseId),
    }),
    { maxLength: 80 },
  )
  fc.assert(
    fc.property(anyEvents, (events) => {
      let breaker = CLOSED
      let nowMs = T
      for (const { afterMs, what, lease } of events) {
        nowMs += afterMs
        breaker = AFTER[what](asOf(breaker, nowMs), lease, nowMs, POLICY)
        const cooldownMs = breaker.kind === 'closed' ? POLICY.cooldownMs : breaker.cooldownMs
        expect(cooldownMs).toBeGreaterThanOrEqual(POLICY.cooldownMs)
        expect(cooldownMs).toBeLessThanOrEqual(POLICY.maxCooldownMs)
      }
      nowMs += POLICY.maxCooldownMs
      const asked = asOf(breaker, nowMs)
      const out = asked.kind === 'half_open' ? asked.probe : null
      const free = out === null ? asked : afterNothing(asked, out)
      expect(afterSuccess(beginProbe(free, PROBE), PROBE, nowMs).kind).toBe('closed')
    }),
  )
})

describe('a breaker without failures that were not the key’s', () => {
  const closed = failures([T, T + 1])
  const open = failures([T, T + 1, T + 2])

  it('is as it was where none of them was counted, or it has no failures to take back', () => {
    for (const breaker of [closed, open, probing]) {
      expect(withoutFailures(breaker, [T + 9], POLICY)).toBe(breaker)
    }
    expect(withoutFailures(probing, [T, T + 1, T + 2], POLICY)).toBe(probing)
  })

  it('takes back each as often as it was counted, and no more often', () => {
    const twice = failures([T, T])
    expect(withoutFailures(twice, [T], POLICY)).toMatchObject({ failuresAtMs: [T] })
    expect(withoutFailures(twice, [T, T, T], POLICY)).toMatchObject({ failuresAtMs: [] })
    expect(withoutFailures(closed, [T + 1], POLICY)).toMatchObject({ failuresAtMs: [T] })
  })

  it('closes where the rest would not have opened it, as one that never opened', () => {
    expect(withoutFailures(open, [T + 1], POLICY)).toEqual({
      kind: 'closed',
      failuresAtMs: [T, T + 2],
      recoveredAtMs: null,
    })
  })

  it('stays open where the rest is enough', () => {
    const lenient = { ...POLICY, failures: 2 }
    const left = withoutFailures(open, [T + 1], lenient)
    expect(left).toEqual({ ...open, failuresAtMs: [T, T + 2] })
  })

  it('awaits the next probe where its probe was one of them, with the cooldown of before', () => {
    const failed = afterFailure(probing, { leaseId: PROBE, panic: false }, T + 60_000, POLICY)
    expect(failed).toMatchObject({ kind: 'open', cooldownMs: 120_000 })
    expect(withoutFailures(failed, [T + 60_000], POLICY)).toEqual({
      kind: 'half_open',
      probe: null,
      cooldownMs: 60_000,
    })
  })
})
