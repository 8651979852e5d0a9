import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bundleForDeployment, readDeployment } from '../bench/processes/deployment.ts'
import type { RunScope } from '../bench/processes/run-scope.ts'
import { startGateway } from '../bench/processes/targets.ts'
import type { Binding } from '../bench/processes/workerd-config.ts'

/** The Worker as it is deployed, in a workerd of its own. */
export interface RawGateway {
  readonly url: string
  stop(): Promise<void>
}

/**
 * Starts what the bench measures: the bundled Worker in workerd, and nothing else between the
 * client's socket and the relay. No proxy of a development server is there to hide what it does.
 *
 * @param bindings variables and secrets in place of the bench's own
 */
export async function startRawGateway(
  upstream: { readonly port: number },
  bindings: Readonly<Record<string, Binding>>,
): Promise<RawGateway> {
  const folder = await mkdtemp(join(tmpdir(), 'switchyard-test-'))
  const children = new Set<ChildProcess>()
  const scope: RunScope = {
    folder,
    spawn(command, args, options) {
      const child = spawn(command, args, options)
      children.add(child)
      child.once('exit', () => children.delete(child))
      return child
    },
    async stop(child) {
      const exited = once(child, 'exit')
      if (child.kill('SIGKILL')) await exited
    },
  }
  const stop = async () => {
    await Promise.all([...children].map(scope.stop))
    await rm(folder, { recursive: true, force: true })
  }
  try {
    const [deployment, { source }] = await Promise.all([
      readDeployment(scope),
      bundleForDeployment(scope),
    ])
    const options = { name: 'gateway', source, bindings }
    const { host, port } = await startGateway(scope, deployment, upstream, options)
    return { url: `http://${host}:${port}`, stop }
  } catch (error) {
    await stop()
    throw error
  }
}
