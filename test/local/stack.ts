import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { formatEnvFile } from './env-file.ts'
import { startWranglerDev, type WranglerDev } from './wrangler-dev.ts'

/** The keys of the simulator's default world, as the gateway is told of them. */
const SIMULATED_KEYS = [
  { id: 'alpha', key: 'sk-or-v1-simulated-alpha', account: 'acme' },
  { id: 'beta', key: 'sk-or-v1-simulated-beta', account: 'acme' },
  { id: 'gamma', key: 'sk-or-v1-simulated-gamma', account: 'globex' },
  { id: 'delta', key: 'sk-or-v1-simulated-delta', account: 'initech' },
]

/** The token of the one client, `demo`, that a stack's gateway knows unless `env` says otherwise. */
export const DEMO_TOKEN = 'sy-demo-token'

export interface StackOptions {
  /** A free one where it is not given. */
  readonly gatewayPort?: number
  /** Variables and secrets of the gateway, on top of those that point it at the simulator. */
  readonly env?: Readonly<Record<string, string>>
  /** `POLICY` of the gateway; the default policy where it is not given. */
  readonly policy?: Readonly<Record<string, unknown>>
  /** Sees the gateway's output as it comes. */
  readonly onGatewayOutput?: (text: string) => void
}

/** A gateway, and the simulator behind it. */
export interface Stack {
  readonly gatewayUrl: string
  readonly simulatorUrl: string
  logs(): { readonly gateway: string; readonly simulator: string }
  /** Settles when either process has ended, on its own or by `stop`, with its exit code. */
  readonly exited: Promise<number>
  /** Ends both and removes what they stored. May be called more than once. */
  stop(): Promise<void>
}

/**
 * Starts the simulator and a gateway in front of it, each a `wrangler dev` process with empty
 * storage of its own, and returns when both answer.
 *
 * @throws when one of them does not start; nothing is left running then
 */
export async function startStack(options: StackOptions = {}): Promise<Stack> {
  const directory = await mkdtemp(join(tmpdir(), 'switchyard-'))
  const started: WranglerDev[] = []
  const stop = async (): Promise<void> => {
    await Promise.all(started.map((process) => process.stop()))
    await rm(directory, { recursive: true, force: true })
  }
  try {
    const simulator = await startWranglerDev({
      name: 'The simulator',
      configPath: 'test/simulator/wrangler.toml',
      port: 0,
      persistPath: join(directory, 'simulator'),
    })
    started.push(simulator)
    const envFilePath = join(directory, 'gateway.env')
    await writeFile(envFilePath, formatEnvFile(gatewayEnvironment(simulator.url, options)))
    const gateway = await startWranglerDev({
      name: 'The gateway',
      configPath: 'wrangler.toml',
      port: options.gatewayPort ?? 0,
      envFilePath,
      persistPath: join(directory, 'gateway'),
      ...(options.onGatewayOutput && { onOutput: options.onGatewayOutput }),
    })
    started.push(gateway)
    return {
      gatewayUrl: gateway.url,
      simulatorUrl: simulator.url,
      logs: () => ({ gateway: gateway.log(), simulator: simulator.log() }),
      exited: Promise.race([gateway.exited, simulator.exited]),
      stop,
    }
  } catch (error) {
    await stop()
    throw error
  }
}

function gatewayEnvironment(simulatorUrl: string, options: StackOptions): Record<string, string> {
  return {
    UPSTREAM_URL: `${simulatorUrl}/api/v1`,
    OPENROUTER_KEYS: JSON.stringify(SIMULATED_KEYS),
    CLIENT_KEYS: `demo:${DEMO_TOKEN}`,
    ...(options.policy && { POLICY: JSON.stringify(options.policy) }),
    ...options.env,
  }
}
