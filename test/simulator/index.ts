import { SimulatedOpenRouter } from './object.ts'

interface Env {
  readonly SIMULATED_OPENROUTER: DurableObjectNamespace<SimulatedOpenRouter>
}

export { SimulatedOpenRouter }

export default {
  fetch(request, env) {
    return env.SIMULATED_OPENROUTER.getByName('openrouter').fetch(request)
  },
} satisfies ExportedHandler<Env>
