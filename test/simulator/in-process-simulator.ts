import { simulatorControl } from './client.ts'
import { createSimulator } from './simulator.ts'

/** A simulator without a server, for what needs neither a Worker nor a broken connection. */
export function simulatorInProcess() {
  const origin = 'http://localhost'
  const simulator = createSimulator()
  const send = (path: string, init: RequestInit = {}) =>
    simulator.fetch(new Request(new URL(path, origin), init))
  const control = simulatorControl(origin, (url, init) => simulator.fetch(new Request(url, init)))
  const ask = (path: string, body: unknown, headers: Record<string, string>) =>
    send(`/api/v1${path}`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body: JSON.stringify(body),
    })
  return { control, send, ask }
}
