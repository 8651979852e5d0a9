import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { formatEnvFile } from './env-file.ts'
import { joinBatches } from './with-batches.ts'
import { startCron, startWranglerDev, type WranglerDev } from './wrangler-dev.ts'

/** The keys of the simulator's default world, in the gateway's configuration. */
const SIMULATED_KEYS = [
  { id: 'alpha', key: 'sk-or-v1-simulated-alpha', account: 'acme' },
  { id: 'beta', key: 'sk-or-v1-simulated-beta', account: 'acme' },
  { id: 'gamma', key: 'sk-or-v1-simulated-gamma', account: 'globex' },
  { id: 'delta', key: 'sk-or-v1-simulated-delta', account: 'initech' },
]

/** The token of `demo`, the only client of a stack's gateway unless `env` sets `CLIENT_KEYS`. */
export const DEMO_TOKEN = 'sy-demo-token-local'

/** Opens the admin API of `npm start`, which listens on this machine only. */
export const LOCAL_ADMIN_TOKEN = 'sy-admin-token-of-this-machine-only'

export interface StackOptions {
  /** By default a free port. */
  readonly gatewayPort?: number
  /** Variables and secrets of the gateway. They win over those that connect it to the simulator. */
  readonly env?: Readonly<Record<string, string>>
  /** `POLICY` of the gateway; without it, the default policy. */
  readonly policy?: Readonly<Record<string, unknown>>
  /** Receives the gateway's output as it arrives. */
  readonly onGatewayOutput?: (text: string) => void
}

/** A gateway with the simulator as its upstream. */
export interface Stack {
  readonly gatewayUrl: string
  readonly simulatorUrl: string
  logs(): { readonly gateway: string; readonly simulator: string }
  /** Settles with the exit code of the first process that ends, by itself or by `stop`. */
  readonly exited: Promise<number>
  /** Ends both processes and removes their storage. It may be called more than once. */
  stop(): Promise<void>
}

/**
 * Starts the simulator and a gateway in front of it, each as a `wrangler dev` process with its own
 * empty storage. Returns when both are ready.
 *
 * @throws if one of them does not start; the other is then stopped
 */
export async function startStack(options: StackOptions = {}): Promise<Stack> {
  const directory = await mkdtemp(join(tmpdir(), 'switchyard-'))
  const started: WranglerDev[] = []
  let stopCron = (): void => undefined
  const stop = async (): Promise<void> => {
    stopCron()
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
      configPath: joinBatches(),
      port: options.gatewayPort ?? 0,
      envFilePath,
      persistPath: join(directory, 'gateway'),
      ...(options.onGatewayOutput && { onOutput: options.onGatewayOutput }),
    })
    started.push(gateway)
    stopCron = startCron(gateway.url)
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

/** What connects a gateway to the simulator. */
export function simulatedEnvironment(simulatorUrl = 'http://localhost'): Record<string, string> {
  return {
    UPSTREAM_URL: `${simulatorUrl}/api/v1`,
    OPENROUTER_KEYS: JSON.stringify(SIMULATED_KEYS),
    CLIENT_KEYS: `demo:${DEMO_TOKEN}`,
  }
}

function gatewayEnvironment(simulatorUrl: string, options: StackOptions): Record<string, string> {
  return {
    ...simulatedEnvironment(simulatorUrl),
    ...(options.policy && { POLICY: JSON.stringify(options.policy) }),
    ...options.env,
  }
}
