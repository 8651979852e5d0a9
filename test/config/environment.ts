import { type Config, type Environment, readConfig } from '../../src/config/config.ts'

/** The smallest valid configuration. */
export const MINIMUM = {
  KEY_POOL: {},
  FLIGHT: {},
  CREDIT: {},
  OPENROUTER_KEYS: 'sk-or-v1-only',
  CLIENT_KEYS: 'app:a-token-of-an-app',
}

/** The configuration of a valid environment; throws if the environment has faults. */
export async function configOf(env: Environment): Promise<Config> {
  const result = readConfig({ ...MINIMUM, ...env })
  if (!result.ok) throw new Error(`Faults: ${result.faults.join('; ')}`)
  return result.config
}

/** The faults of an environment; an empty list if it is valid. */
export async function faultsOf(env: Environment): Promise<readonly string[]> {
  const result = readConfig({ ...MINIMUM, ...env })
  return result.ok ? [] : result.faults
}
