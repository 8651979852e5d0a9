import { alertName } from '../../../src/balancing/alerts/alert.ts'
import type { AlertMessage } from '../../../src/balancing/alerts/alert-outbox.ts'
import type { Accuse, Watcher } from './invariant.ts'
import type { SimulatedWorld } from './observed-world.ts'

/**
 * 17. A receiver that drops twins hears in turn that an alert begins and that it ends, in the order in
 * which it happened, whatever ended in between. Nothing of it is missing but what is still on its way.
 */
export function alertsAreTold(accuse: Accuse, world: () => SimulatedWorld): Watcher {
  const ids = new Set<string>()
  const begun = new Set<string>()
  let lastAtMs = 0
  /** The first message that no alert's state fits to any more, since one before it was given up. */
  let isGap = false

  const hear = ({ event, phase, alerts }: AlertMessage, into: Set<string>, why: string) => {
    for (const { subject } of alerts) {
      const name = alertName({ event, subject })
      const isBegun = into.has(name)
      if (!isGap && isBegun === (phase === 'begin')) accuse(17, `${name} ${phase}s twice ${why}`)
      if (phase === 'begin') into.add(name)
      else into.delete(name)
    }
  }

  return {
    told(message) {
      if (ids.has(message.id)) return
      ids.add(message.id)
      if (message.more > 0) isGap = true
      if (message.atMs < lastAtMs) accuse(17, `${message.id} comes after a later one`)
      lastAtMs = message.atMs
      hear(message, begun, 'at the receiver')
    },
    undelivered() {
      isGap = true
    },
    atRest() {
      const { object, isTold } = world()
      if (!isTold || isGap) return
      const { active, outbox } = object.state.alerts
      const known = new Set(begun)
      const onTheWay = [...outbox.queues.values()].flat().map(({ message }) => message)
      const unheard = onTheWay.filter(({ id }) => !ids.has(id))
      for (const message of unheard) hear(message, known, 'in the queue')
      const wrong = [...new Set([...known, ...active.keys()])].filter(
        (id) => known.has(id) !== active.has(id as never),
      )
      if (wrong.length > 0) accuse(17, `what operators hear is not what is: ${wrong}`)
    },
  }
}
