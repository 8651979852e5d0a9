import { createApp } from './app.ts'
import type { Ports } from './gateway/ports.ts'
import { KeyPool } from './key-pool/durable-object.ts'

/** The real clock, timers, randomness and network. */
const ports: Ports = {
  fetch: (url, init) => fetch(url, init),
  nowMs: () => Date.now(),
  random: () => Math.random(),
  timer(ms, callback) {
    const id = setTimeout(callback, ms)
    return () => clearTimeout(id)
  },
  uniqueId: () => crypto.randomUUID(),
}

export default createApp(ports)

export { KeyPool }
