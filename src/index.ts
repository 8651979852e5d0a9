import { tracing } from 'cloudflare:workers'
import { createApp } from './app.ts'
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
} satisfies ExportedHandler<Env>

export { KeyPool }
