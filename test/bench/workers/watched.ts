import production, { Flight, KeyPool } from '../../../src/index.ts'

/** The gateway as it is deployed, which tells what a soak judges it by. */

let unhandled = 0
addEventListener('unhandledrejection', ({ reason }) => {
  unhandled += 1
  console.error('unhandled rejection', reason)
})

/**
 * Answers on a port of its own with what the pool's object shows, and with the rejections that nobody
 * has handled. A local workerd has no cron: a call of `/cron` is the trigger of a minute.
 */
export const counter = {
  async fetch(request, env) {
    if (new URL(request.url).pathname === '/cron') {
      const trigger = { cron: '* * * * *', scheduledTime: Date.now(), noRetry: () => undefined }
      await production.scheduled(trigger, env)
    }
    return Response.json({
      pool: await env.KEY_POOL.getByName('pool/default/0').snapshot(),
      unhandled,
    })
  },
} satisfies ExportedHandler<Env>

export default production

export { Flight, KeyPool }
