import { tracing } from 'cloudflare:workers'
import { createApp } from './app.ts'
import { FileList } from './batches/files/file-list-object.ts'
import { Batch } from './batches/progress/batch-object.ts'
import type { RangeMessage } from './batches/progress/range-message.ts'
import { consumeRanges } from './batches/runs/consumer.ts'
import { FlightObject } from './flight/object/flight-object.ts'
import type { Ports } from './gateway/ports.ts'
import { carryOutDuties } from './http/duties-at-rest.ts'
import { KeyPool } from './key-pool/durable-object.ts'

/** The real clock, timers, randomness, network and tracing. */
const ports: Ports = {
  fetch: (url, init) => fetch(url, init),
  nowMs: () => Date.now(),
  random: () => Math.random(),
  timer(ms, callback) {
    const id = setTimeout(callback, ms)
    return () => clearTimeout(id)
  },
  uniqueId: () => crypto.randomUUID(),
  // A span that nobody collects costs as much as routing a request; to ask whether anybody does, a
  // thirtieth of that.
  span: (name, work) =>
    tracing.getActiveSpan()?.isTraced === true
      ? tracing.enterSpan(name, (span) => work((facts) => void span.setAttributes({ ...facts })))
      : work(() => undefined),
}

const { fetch: answer } = createApp(ports)

export default {
  fetch: answer,
  async scheduled(_controller, env) {
    await carryOutDuties(env, ports)
  },
  async queue(batch, env, context) {
    await consumeRanges(batch, env, context, ports)
  },
} satisfies ExportedHandler<Env, RangeMessage>

/** The platform makes the object, so its ports can only be put in here. */
export class Flight extends FlightObject {
  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env, ports)
  }
}
export { Batch, FileList, KeyPool }
