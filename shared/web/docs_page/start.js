// Starts Swagger UI with the OpenAPI document of this service.
"use strict";

SwaggerUIBundle({ url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true });
