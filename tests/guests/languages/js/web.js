// Answers with the interface that browsers and servers have for it: `fetch` events.

async function answer(request) {
  const { pathname, searchParams } = new URL(request.url);
  switch (pathname) {
    case "/echo":
      return new Response(await request.text(), { headers: { "x-method": request.method } });
    case "/stream":
      return new Response(request.body);
    case "/events":
      return new Response(events(Number(searchParams.get("count"))), {
        headers: { "content-type": "text/event-stream" },
      });
    default:
      return new Response(`${request.method} ${pathname}\n`, { status: 404 });
  }
}

function events(count) {
  const encoder = new TextEncoder();
  return new ReadableStream({
    async start(controller) {
      for (let number = 0; number < count; number++) {
        await new Promise((resolve) => setTimeout(resolve, 1));
        controller.enqueue(encoder.encode(`data: ${number}\n\n`));
      }
      controller.close();
    },
  });
}

addEventListener("fetch", (event) => event.respondWith(answer(event.request)));
