-- How many people are in view on the plaza: over 40 minutes, and in each quarter of an hour.
SPLIT plaza
  BEGIN 2026-09-01T13:00:00Z END 2026-09-01T13:40:00Z
  BY TIME 5sec STRIDE 0sec
  AT 5 FPS RESIZE 384x288
  INTO chunks;

PROCESS chunks USING 'people.py' TIMEOUT 200ms
  PRODUCING EXACTLY 1 ROWS
  WITH SCHEMA (people:NUMBER=0)
  INTO views;

SELECT AVG(RANGE(people, 0, 12)) AS people FROM views CONSUMING 1.0;

SELECT bin(chunk, 15 min) AS quarter, AVG(RANGE(people, 0, 12)) AS people
  FROM views GROUP BY quarter CONSUMING 0.5;
