import { fileURLToPath } from 'node:url'
import type { RunScope } from './run-scope.ts'

const SERVER_PATH = fileURLToPath(new URL('../upstream/server.ts', import.meta.url))

export interface Upstream {
  readonly port: number
  readonly pid: number
  stop(): Promise<void>
}

/**
 * Starts the upstream.
 * @param port 0 takes a free one
 */
export async function startUpstream(scope: RunScope, port: number): Promise<Upstream> {
  const child = scope.spawn(process.execPath, [SERVER_PATH, String(port)], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const told = await new Promise<unknown>((resolve, reject) => {
    child.once('message', resolve)
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`The upstream ended with code ${code}.`)))
  })
  if (typeof told !== 'number' || child.pid === undefined) throw new Error('No upstream')
  return { port: told, pid: child.pid, stop: () => scope.stop(child) }
}
