-- On which side of the lamp post are more people? Plan it with this folder's policy.toml.
SPLIT plaza
  BEGIN 2026-09-01T13:00:00Z END 2026-09-01T13:01:00Z
  BY TIME 10 sec
  BY REGION sides WITH MASK building
  AT 5 FPS RESIZE 192x288
  INTO chunks;

PROCESS chunks USING 'people.py' TIMEOUT 500 ms
  PRODUCING EXACTLY 1 ROWS
  WITH SCHEMA (people:NUMBER=0)
  INTO seen;

SELECT region, AVG(RANGE(people, 0, 8)) AS people FROM seen GROUP BY region CONSUMING 1;
